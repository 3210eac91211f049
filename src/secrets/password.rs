//! Passwords nobody has to remember, and the forms in which servers keep them.
use std::num::NonZeroU32;

use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::pbkdf2::{self, PBKDF2_HMAC_SHA512};
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretString};

/// 192 bits: beyond guessing, and 32 characters of text.
const PASSWORD_BYTES: usize = 24;
/// 756 characters of base64 and below: `MongoDB` takes 6 to 1,024.
const KEYFILE_BYTES: usize = 567;
/// Mosquitto's own numbers. More rounds would only slow down connecting: these passwords cannot be guessed.
/// Source: Mosquitto 2.0, `password_mosq.h` and `mosquitto_passwd.c`.
const MOSQUITTO_ROUNDS: NonZeroU32 = NonZeroU32::new(101).expect("not zero");
const MOSQUITTO_SALT_BYTES: usize = 12;
const MOSQUITTO_HASH_BYTES: usize = 64;

/// Cheap on purpose, for the same reason.
const ARGON2_MEMORY_KIB: u32 = 1_024;
const ARGON2_SALT_BYTES: usize = 16;

/// The system gives no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system has no random bytes to give")]
pub struct RandomError;

fn random<const BYTES: usize>() -> Result<[u8; BYTES], RandomError> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| RandomError)?;
    Ok(bytes)
}

/// Letters, digits, `-` and `_`: safe in URLs, in files of lines and in shells.
pub fn password() -> Result<SecretString, RandomError> {
    Ok(URL_SAFE_NO_PAD.encode(random::<PASSWORD_BYTES>()?).into())
}

/// What members of a `MongoDB` replica set know each other by.
pub fn keyfile() -> Result<SecretString, RandomError> {
    Ok(STANDARD.encode(random::<KEYFILE_BYTES>()?).into())
}

/// The password as a line of Mosquitto's password file has it: `$7$<rounds>$<salt>$<hash>`, PBKDF2 with
/// HMAC-SHA-512. Source: Mosquitto 2.0, `password_mosq.c`.
pub fn mosquitto_hash(password: &SecretString) -> Result<String, RandomError> {
    let salt = random::<MOSQUITTO_SALT_BYTES>()?;
    let mut hash = [0; MOSQUITTO_HASH_BYTES];
    let secret = password.expose_secret().as_bytes();
    pbkdf2::derive(PBKDF2_HMAC_SHA512, MOSQUITTO_ROUNDS, &salt, secret, &mut hash);
    Ok(format!("$7${MOSQUITTO_ROUNDS}${}${}", STANDARD.encode(salt), STANDARD.encode(hash)))
}

/// The password as the facade's file of users has it: argon2 in PHC form.
pub fn argon2_hash(password: &SecretString) -> Result<String, RandomError> {
    let salt = SaltString::encode_b64(&random::<ARGON2_SALT_BYTES>()?).expect("16 bytes are a salt");
    let params = Params::new(ARGON2_MEMORY_KIB, 1, 1, None).expect("these are allowed");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(password.expose_secret().as_bytes(), &salt);
    Ok(hash.expect("a short password and a good salt").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facade_takes_the_hash() {
        use argon2::password_hash::{PasswordHash, PasswordVerifier};
        let password = password().unwrap();
        let hash = argon2_hash(&password).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=1024,t=1,p=1$"), "{hash}");
        let parsed = PasswordHash::new(&hash).unwrap();
        let verify = |text: &str| Argon2::default().verify_password(text.as_bytes(), &parsed);
        assert!(verify(password.expose_secret()).is_ok() && verify("another").is_err());
    }

    #[test]
    fn passwords_are_long_plain_and_never_the_same() {
        let (one, other) = (password().unwrap(), password().unwrap());
        assert_eq!(one.expose_secret().len(), 32);
        assert!(one.expose_secret().chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)));
        assert_ne!(one.expose_secret(), other.expose_secret());
        let key = keyfile().unwrap();
        assert_eq!(key.expose_secret().len(), 756);
    }

    #[test]
    fn a_hash_has_its_own_salt_and_verifies() {
        let password = SecretString::from("correct horse");
        let (one, other) = (mosquitto_hash(&password).unwrap(), mosquitto_hash(&password).unwrap());
        assert_ne!(one, other);
        let parts: Vec<_> = one.split('$').collect();
        let ["", "7", "101", salt, hash] = parts[..] else { panic!("{one}") };
        let (salt, hash) = (STANDARD.decode(salt).unwrap(), STANDARD.decode(hash).unwrap());
        let verify =
            |text: &str| pbkdf2::verify(PBKDF2_HMAC_SHA512, MOSQUITTO_ROUNDS, &salt, text.as_bytes(), &hash);
        assert!(verify("correct horse").is_ok() && verify("correct hors").is_err());
    }
}
