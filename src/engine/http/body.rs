//! The body of a request: whole, in time, and within what all requests together may hold.
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::refusal::Refusal;
use super::unsupported_type;

/// The largest request body, in bytes. Source: Ditto 3.8, `pekko.http.server.parsing.max-content-length` (`1m`).
const BODY_MAX: usize = 1024 * 1024;
/// From the head to the end of the body; a client that needs longer is not worth a connection.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);
/// All bodies held at one time, in bytes: 64 of the largest.
pub const BODIES_MAX: usize = 64 * BODY_MAX;

/// A body, and its share of [`BODIES_MAX`] until it is dropped.
pub struct Whole<'s> {
    pub bytes: Bytes,
    _room: Option<SemaphorePermit<'s>>,
}

pub async fn read<'s>(headers: &HeaderMap, body: Body, room: &'s Semaphore) -> Result<Whole<'s>, Refusal> {
    read_within(BODY_TIMEOUT, headers, body, room).await
}

async fn read_within<'s>(
    patience: Duration,
    headers: &HeaderMap,
    body: Body,
    room: &'s Semaphore,
) -> Result<Whole<'s>, Refusal> {
    let coded = |value: &axum::http::HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get(header::CONTENT_ENCODING).is_some_and(coded) {
        return Err(unsupported_type().into());
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > BODY_MAX as u64) {
        return Err(TOO_LARGE);
    }
    match tokio::time::timeout(patience, collect(body, room)).await {
        Ok(whole) => whole,
        Err(_) => Err(Refusal::Text(408, "the body took longer than 60 s")),
    }
}

const TOO_LARGE: Refusal = Refusal::Text(413, "the body is larger than 1 MiB");

async fn collect(mut body: Body, room: &Semaphore) -> Result<Whole<'_>, Refusal> {
    let (mut first, mut rest) = (Bytes::new(), Vec::new());
    let mut held: Option<SemaphorePermit<'_>> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Text(400, "the body ended early or is not well formed"))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > BODY_MAX {
            return Err(TOO_LARGE);
        }
        let share = u32::try_from(data.len()).ok().and_then(|length| room.try_acquire_many(length).ok());
        let share = share.ok_or(Refusal::Text(503, "too many large bodies at one time: try again"))?;
        match &mut held {
            Some(held) => held.merge(share),
            None => held = Some(share),
        }
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    let bytes = if rest.is_empty() { first } else { Bytes::from([first.as_ref(), &rest].concat()) };
    Ok(Whole { bytes, _room: held })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn status(headers: &[(&'static str, &str)], body: Body, room: usize) -> Result<usize, u16> {
        status_within(BODY_TIMEOUT, headers, body, room).await
    }

    async fn status_within(
        patience: Duration,
        headers: &[(&'static str, &str)],
        body: Body,
        room: usize,
    ) -> Result<usize, u16> {
        let room = Semaphore::new(room);
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        match read_within(patience, &headers.collect(), body, &room).await {
            Ok(whole) => Ok(whole.bytes.len()),
            Err(Refusal::Text(status, _)) => Err(status),
            Err(Refusal::Failure(failure)) => Err(failure.status),
            Err(_) => Err(0),
        }
    }

    fn chunks(sizes: &[usize]) -> Body {
        let chunks: Vec<_> = sizes.iter().map(|size| Ok::<_, std::io::Error>(vec![b' '; *size])).collect();
        Body::from_stream(futures::stream::iter(chunks))
    }

    #[tokio::test]
    async fn s8_s11_what_is_too_large_too_late_or_coded_is_refused_by_name() {
        let megabyte = BODY_MAX;
        let rows = [
            (vec![], chunks(&[]), Ok(0)),
            (vec![], chunks(&[3, 4, 5]), Ok(12)),
            (vec![], chunks(&[megabyte]), Ok(megabyte)),
            (vec![], chunks(&[megabyte, 1]), Err(413)),
            (vec![("content-length", "99999999999")], chunks(&[1]), Err(413)),
            (vec![("content-encoding", "identity")], chunks(&[1]), Ok(1)),
            (vec![("content-encoding", "gzip")], chunks(&[1]), Err(415)),
            (vec![("content-encoding", "gzip, gzip")], chunks(&[1]), Err(415)),
        ];
        for (headers, body, expected) in rows {
            assert_eq!(status(&headers, body, BODIES_MAX).await, expected, "{headers:?}");
        }
        assert_eq!(status(&[], chunks(&[5, 6]), 10).await, Err(503), "no room for another body");
    }

    #[tokio::test]
    async fn s8_a_body_that_never_ends_is_given_up() {
        let slow = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Some((Ok::<_, std::io::Error>(vec![b' ']), ()))
        });
        let patience = Duration::from_millis(50);
        let given_up = status_within(patience, &[], Body::from_stream(slow), BODIES_MAX).await;
        assert_eq!(given_up, Err(408));
    }
}
