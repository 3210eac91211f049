//! Signed tokens, verified through ring: `jsonwebtoken` brings no implementation that this program does not have already.
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, Validation, decode};
use ring::signature as alg;

/// Verifies only: nothing here signs, and symmetric algorithms are left out for good.
static RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory: |algorithm, key| Ok(Box::new(Verifier(*algorithm, key.clone()))),
    key_utils: KeyUtils::new_unimplemented(),
};

struct Verifier(Algorithm, DecodingKey);

impl signature::Verifier<Vec<u8>> for Verifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let rsa = match self.0 {
            Algorithm::RS256 => Some(&alg::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => Some(&alg::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => Some(&alg::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => Some(&alg::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => Some(&alg::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => Some(&alg::RSA_PSS_2048_8192_SHA512),
            _ => None,
        };
        let verified = match (self.1.kind(), rsa, self.0) {
            (DecodingKeyKind::RsaModulusExponent { n, e }, Some(rsa), _) => {
                alg::RsaPublicKeyComponents { n, e }.verify(rsa, message, signature)
            }
            (DecodingKeyKind::SecretOrDer(key), None, Algorithm::ES256) => {
                alg::UnparsedPublicKey::new(&alg::ECDSA_P256_SHA256_FIXED, key).verify(message, signature)
            }
            (DecodingKeyKind::SecretOrDer(key), None, Algorithm::ES384) => {
                alg::UnparsedPublicKey::new(&alg::ECDSA_P384_SHA384_FIXED, key).verify(message, signature)
            }
            (DecodingKeyKind::SecretOrDer(key), None, Algorithm::EdDSA) => {
                alg::UnparsedPublicKey::new(&alg::ED25519, key).verify(message, signature)
            }
            _ => Err(ring::error::Unspecified),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Verifier {
    fn algorithm(&self) -> Algorithm {
        self.0
    }
}

/// What is looked at of a token once it is verified.
#[derive(Debug, serde::Deserialize)]
pub struct Claims {
    pub sub: String,
    /// Seconds since 1970.
    pub exp: u64,
}

impl Claims {
    pub fn expires(&self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.exp))
    }
}

/// What a token must say of itself.
pub struct Expected<'e> {
    pub issuer: &'e str,
    pub audience: &'e str,
    pub algorithms: &'e [Algorithm],
    pub clock_skew: Duration,
}

/// The claims of a token signed with `key`. `algorithm` is the token's own word: it must be on the list and belong to
/// the family of the key, so no public key is ever taken for a secret.
pub fn verify(
    token: &str,
    algorithm: Algorithm,
    key: &Jwk,
    expected: &Expected<'_>,
) -> Result<Claims, Error> {
    let _already_installed = RING.install_default();
    if !expected.algorithms.contains(&algorithm) {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let key = DecodingKey::from_jwk(key)?;
    if key.family() == AlgorithmFamily::Hmac {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    validation.leeway = expected.clock_skew.as_secs();
    Ok(decode::<Claims>(token, &key, &validation)?.claims)
}

/// When a token that Ditto verifies says it ends; `None` when it is no token.
pub fn unverified_expiry(token: &str) -> Option<SystemTime> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(claims.get("exp")?.as_u64()?))
}
