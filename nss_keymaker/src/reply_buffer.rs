//! Packs an answer into the buffer that glibc's caller gave: texts with their zero bytes, and arrays of pointers to
//! them.
//!
//! passwd and group fill it. It never writes past the end: what does not fit is [`LookupError::BufferTooSmall`], on
//! which glibc calls again with twice the room, so nothing else may be said to be too small.

use std::ops::Range;

use keymaker_core::directory_file::count_texts;

use crate::LookupError;

/// The bytes of a pointer.
pub(crate) const POINTER: usize = size_of::<*const u8>();

/// The caller's buffer, filled from the front.
pub(crate) struct ReplyBuffer<'b> {
    bytes: &'b mut [u8],
    used: usize,
}

impl<'b> ReplyBuffer<'b> {
    /// The buffer, of which the first `used` bytes are taken.
    pub fn new(bytes: &'b mut [u8], used: usize) -> Self {
        Self { bytes, used }
    }

    /// Adds a text and its zero byte; where it begins.
    pub fn text(&mut self, text: &str) -> Result<usize, LookupError> {
        let (at, space) = self.take(text.len() + 1)?;
        let (end, start) = space.split_last_mut().ok_or(LookupError::BufferTooSmall)?;
        start.copy_from_slice(text.as_bytes());
        *end = 0;
        Ok(at)
    }

    /// Adds an array of pointers to the texts that lie in `texts` of this buffer, a null pointer last; where it begins.
    ///
    /// The buffer itself may begin at any address (`getgrnam_r(3)` asks for no alignment), so the array is aligned by
    /// address.
    pub fn pointers(&mut self, texts: Range<usize>) -> Result<usize, LookupError> {
        let base = self.bytes.as_ptr().expose_provenance();
        let padding = (base + self.used).next_multiple_of(POINTER) - (base + self.used);
        self.take(padding)?;
        let count = self.bytes.get(texts.clone()).map_or(0, count_texts);
        let (at, _) = self.take((count + 1) * POINTER)?;
        let (filled, array) = self.bytes.split_at_mut(at);
        let mut slots = array.as_chunks_mut::<POINTER>().0.iter_mut();
        let mut target = base + texts.start;
        for (end, byte) in (base + texts.start..).zip(filled.get(texts).unwrap_or_default()) {
            if *byte == 0
                && let Some(slot) = slots.next()
            {
                *slot = target.to_ne_bytes();
                target = end + 1;
            }
        }
        if let Some(last) = slots.next() {
            last.fill(0);
        }
        Ok(at)
    }

    fn take(&mut self, len: usize) -> Result<(usize, &mut [u8]), LookupError> {
        let at = self.used;
        let end = at.checked_add(len).ok_or(LookupError::BufferTooSmall)?;
        let space = self.bytes.get_mut(at..end).ok_or(LookupError::BufferTooSmall)?;
        self.used = end;
        Ok((at, space))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fill_the_buffer_to_its_last_byte_and_not_beyond() {
        let mut bytes = *b"########";
        let mut reply = ReplyBuffer::new(&mut bytes, 0);
        assert_eq!(reply.text("abc"), Ok(0));
        assert_eq!(reply.text("de"), Ok(4));
        assert_eq!(reply.text("f"), Err(LookupError::BufferTooSmall));
        assert_eq!(reply.text(""), Ok(7));
        assert_eq!(reply.text(""), Err(LookupError::BufferTooSmall));
        assert_eq!(&bytes, b"abc\0de\0\0");
    }

    /// The pointers of the array at `at`.
    fn slots(buffer: &[u8], at: usize) -> Vec<usize> {
        buffer[at..]
            .as_chunks::<POINTER>()
            .0
            .iter()
            .map(|slot| usize::from_ne_bytes(*slot))
            .take(3)
            .collect()
    }

    #[test]
    fn pointers_are_aligned_wherever_the_buffer_begins() {
        let mut bytes = [b'#'; 64];
        for start in 0..POINTER {
            let buffer = &mut bytes[start..];
            let base = buffer.as_ptr().addr();
            buffer[..7].copy_from_slice(b"x\0ab\0c\0");
            let at = ReplyBuffer::new(buffer, 7).pointers(2..7).unwrap();
            assert!(at >= 7 && (base + at).is_multiple_of(POINTER));
            assert_eq!(slots(buffer, at), [base + 2, base + 5, 0]);
        }
    }

    #[test]
    fn an_array_is_too_large_only_where_it_does_not_fit() {
        let mut bytes = [0; 2 + 4 * POINTER];
        for len in 2..=bytes.len() {
            let buffer = &mut bytes[..len];
            let end = buffer.as_ptr().addr() + 2;
            let needed = 2 + (end.next_multiple_of(POINTER) - end) + 3 * POINTER;
            assert_eq!(
                ReplyBuffer::new(buffer, 2).pointers(0..2).is_ok(),
                len >= needed,
                "{len}"
            );
        }
    }
}
