use super::*;
use crate::ipc::message::{PROTOCOL_VERSION, ProvidedEntry, Request, Response, ResultRow};
use proptest::prelude::*;

/// Feeds `bytes` in pieces of at most `piece` and returns what comes out first.
fn feed<T: DeserializeOwned>(decoder: &mut Decoder, mut bytes: &[u8], piece: usize) -> Result<Option<T>> {
    loop {
        if let Some(message) = decoder.take()? {
            assert!(bytes.is_empty(), "the decoder never reads beyond its frame");
            return Ok(Some(message));
        }
        let space = decoder.space();
        let count = space.len().min(piece).min(bytes.len());
        if count == 0 {
            return Ok(None);
        }
        space[..count].copy_from_slice(&bytes[..count]);
        decoder.advance(count);
        bytes = &bytes[count..];
    }
}

fn sample(payload: Vec<u8>) -> Request {
    let id = crate::ids::EntryId { key: -5, order: crate::ids::EntryOrder { seq: 7, xid: 9 } };
    Request::Provide {
        entries: vec![ProvidedEntry { id, payload }],
        delete_vectors: vec![],
        tombstones: vec![],
        last: true,
    }
}

#[test]
fn a_message_survives_in_pieces_of_any_size() {
    for piece in [1, 3, 16, 17, 1 << 20] {
        let message = sample((0..100_000u32).map(|i| (i % 251) as u8).collect());
        let frame = encode(Kind::Request, &message).unwrap();
        let mut decoder = Decoder::new(Kind::Request);
        for _ in 0..2 {
            assert_eq!(feed::<Request>(&mut decoder, &frame, piece).unwrap(), Some(message.clone()));
            assert!(decoder.is_empty());
        }
    }
}

#[test]
fn a_frame_that_is_too_large_is_refused_by_both_ends() {
    let error = encode(Kind::Request, &sample(vec![1; MAX_FRAME_BYTES])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::OutOfRange);
    let mut header = encode(Kind::Request, &Request::Ping).unwrap();
    header[8..12].copy_from_slice(&u32::try_from(MAX_FRAME_BYTES + 1).unwrap().to_le_bytes());
    let error = feed::<Request>(&mut Decoder::new(Kind::Request), &header, 64).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
}

#[test]
fn a_length_that_lies_costs_no_memory() {
    let mut header = encode(Kind::Request, &Request::Ping).unwrap();
    header[8..12].copy_from_slice(&u32::try_from(MAX_FRAME_BYTES).unwrap().to_le_bytes());
    let mut decoder = Decoder::new(Kind::Request);
    assert_eq!(feed::<Request>(&mut decoder, &header, 64).unwrap(), None);
    assert!(decoder.buffer.capacity() <= 3 * READ_CHUNK);
}

#[test]
fn a_frame_of_the_other_direction_is_refused() {
    let frame = encode(Kind::Response, &Response::Done).unwrap();
    assert_eq!(feed::<Request>(&mut Decoder::new(Kind::Request), &frame, 64).unwrap_err().kind, ErrorKind::Corrupt);
}

#[test]
fn bytes_after_the_message_are_an_error() {
    let mut frame = encode(Kind::Request, &Request::Ping).unwrap();
    frame.push(0);
    let length = u32::try_from(frame.len() - HEADER_BYTES).unwrap();
    let crc = crc32fast::hash(&frame[HEADER_BYTES..]);
    frame[8..12].copy_from_slice(&length.to_le_bytes());
    frame[12..16].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(feed::<Request>(&mut Decoder::new(Kind::Request), &frame, 64).unwrap_err().kind, ErrorKind::Corrupt);
}

#[test]
fn hello_keeps_its_place_so_that_any_two_versions_can_tell_each_other_apart() {
    let hello = Request::Hello { protocol: PROTOCOL_VERSION, version: "0.1.0".into() };
    assert_eq!(encode(Kind::Request, &hello).unwrap()[HEADER_BYTES], 0);
    let hello = Response::Hello { protocol: PROTOCOL_VERSION, version: "0.1.0".into(), pid: 1 };
    assert_eq!(encode(Kind::Response, &hello).unwrap()[HEADER_BYTES], 0);
}

proptest! {
    #[test]
    fn garbage_is_an_error_or_incomplete_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), piece in 1usize..50) {
        let _ = feed_all::<Request>(&bytes, piece);
        let mut framed = MAGIC.to_vec();
        framed.extend_from_slice(&[FRAME_VERSION, 1, 0, 0]);
        framed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        framed.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        framed.extend_from_slice(&bytes);
        let _ = feed_all::<Request>(&framed, piece);
        framed[5] = 2;
        let _ = feed_all::<Response>(&framed, piece);
    }

    #[test]
    fn one_flipped_bit_is_never_another_message(payload in proptest::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let message = sample(payload);
        let mut frame = encode(Kind::Request, &message).unwrap();
        let at = at.index(frame.len());
        frame[at] ^= 1 << bit;
        if let Ok(Some(other)) = feed_all::<Request>(&frame, 64) {
            prop_assert_eq!(other, message);
        }
    }

    #[test]
    fn rows_survive(keys in proptest::collection::vec(any::<crate::ids::Key>(), 0..50), text in ".{0,40}") {
        let rows: Vec<_> = keys.iter().map(|&key| ResultRow { key, score: 0.5, id: Some(text.clone()), attributes: Some(text.clone()), ..ResultRow::default() }).collect();
        let message = Response::Rows { rows, last: true, stats: crate::ipc::message::RequestStats::default() };
        let frame = encode(Kind::Response, &message).unwrap();
        prop_assert_eq!(feed::<Response>(&mut Decoder::new(Kind::Response), &frame, 100).unwrap(), Some(message));
    }
}

/// Like [`feed`], for streams that may hold anything after the first frame.
fn feed_all<T: DeserializeOwned>(bytes: &[u8], piece: usize) -> Result<Option<T>> {
    let mut decoder = Decoder::new(if bytes.get(5) == Some(&2) { Kind::Response } else { Kind::Request });
    let mut rest = bytes;
    loop {
        if let Some(message) = decoder.take()? {
            return Ok(Some(message));
        }
        let space = decoder.space();
        let count = space.len().min(piece).min(rest.len());
        if count == 0 {
            return Ok(None);
        }
        space[..count].copy_from_slice(&rest[..count]);
        decoder.advance(count);
        rest = &rest[count..];
    }
}
