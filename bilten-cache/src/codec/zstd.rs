//! Larger payloads as zstd frames. Who wrote the bytes is not known, so their own word about their length is held against
//! the limit before anything is allocated.

use bytes::Bytes;
use zstd::zstd_safe::get_frame_content_size;

/// The quickest of the usual levels: what is saved is the time of a network and the memory of a server.
const LEVEL: i32 = 1;

/// The payload compressed, if that makes it shorter.
pub(crate) fn compress(payload: &[u8]) -> Option<Bytes> {
    let frame = zstd::bulk::compress(payload, LEVEL).ok()?;
    (frame.len() < payload.len()).then(|| frame.into())
}

/// The payload of one frame, if it says that it has at most `limit` bytes and keeps its word.
pub(crate) fn decompress(frame: &[u8], limit: usize) -> Option<Bytes> {
    let length = get_frame_content_size(frame).ok()??;
    let length = usize::try_from(length).ok().filter(|n| *n <= limit)?;
    let mut payload = Vec::new();
    // Where the limit is large, the length may be more than there is.
    payload.try_reserve_exact(length).ok()?;
    let mut from = zstd::bulk::Decompressor::new().ok()?;
    from.decompress_to_buffer(frame, &mut payload).ok()?;
    (payload.len() == length).then(|| payload.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_compressed_comes_back_and_noise_stays_as_it_is() {
        let text = b"tea and biscuits, ".repeat(1_000);
        let frame = compress(&text).unwrap();
        assert!(frame.len() < text.len() / 20);
        assert_eq!(decompress(&frame, text.len()).unwrap(), text);
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
            .take(4_096)
            .collect();
        assert_eq!(compress(&noise), None);
    }

    #[test]
    fn a_frame_that_unfolds_beyond_the_limit_is_refused_before_it_takes_memory() {
        // Zeros, some ten thousand of them in a byte.
        let bomb = compress(&vec![0; 64 << 20]).unwrap();
        assert!(bomb.len() < 64 << 10);
        let info = allocation_counter::measure(|| {
            assert_eq!(decompress(&bomb, (64 << 20) - 1), None);
        });
        assert_eq!(info.bytes_max, 0);
    }

    #[test]
    fn a_frame_that_claims_more_than_there_is_is_refused_whatever_the_limit() {
        for claimed in [1_u64 << 45, u64::MAX - 9] {
            // Magic number, a header with one segment and a length of eight bytes, and an empty last block.
            let frame = [
                &[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..],
                &claimed.to_le_bytes(),
                &[1, 0, 0],
            ]
            .concat();
            assert_eq!(get_frame_content_size(&frame).unwrap(), Some(claimed));
            assert_eq!(decompress(&frame, usize::MAX), None);
        }
    }

    #[test]
    fn a_frame_that_hides_or_forges_its_length_is_refused() {
        let text = b"tea and biscuits, ".repeat(1_000);
        let whole = compress(&text).unwrap();
        let twice = [&whole[..], &whole[..]].concat();
        assert_eq!(decompress(&twice, 1 << 20), None, "a second frame");
        for cut in 0..whole.len() {
            assert_eq!(decompress(&whole[..cut], 1 << 20), None, "cut at {cut}");
        }
        // Who has to write the header early does not know the length.
        let mut silent = zstd::stream::Encoder::new(Vec::new(), LEVEL).unwrap();
        silent.write_all(&text).unwrap();
        silent.flush().unwrap();
        let silent = silent.finish().unwrap();
        assert!(matches!(get_frame_content_size(&silent), Ok(None)));
        assert_eq!(decompress(&silent, 1 << 20), None);
    }
}
