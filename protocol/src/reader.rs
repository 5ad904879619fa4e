//! A cursor over the bytes of one packet: each read checks its length, and strings their UTF-8.
//!
//! A read past the end is [`Violation::Truncated`]: the frame is whole, so the packet contradicts its own length.

use crate::violation::Violation;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) const fn take(&mut self, len: usize) -> Result<&'a [u8], Violation> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(Violation::Truncated),
        }
    }

    #[inline]
    pub(crate) const fn u8(&mut self) -> Result<u8, Violation> {
        match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                Ok(*byte)
            }
            None => Err(Violation::Truncated),
        }
    }

    #[inline]
    pub(crate) const fn u16(&mut self) -> Result<u16, Violation> {
        match self.rest.split_first_chunk::<2>() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(u16::from_be_bytes(*bytes))
            }
            None => Err(Violation::Truncated),
        }
    }

    #[inline]
    pub(crate) const fn u32(&mut self) -> Result<u32, Violation> {
        match self.rest.split_first_chunk::<4>() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(u32::from_be_bytes(*bytes))
            }
            None => Err(Violation::Truncated),
        }
    }

    /// A packet identifier, never 0 [MQTT-2.2.1-3].
    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<u16, Violation> {
        match self.u16()? {
            0 => Err(Violation::PacketIdZero),
            id => Ok(id),
        }
    }

    /// A variable byte integer of at most four bytes, as short as its value allows [MQTT-1.5.5-1].
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u32, Violation> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift != 0 {
                    return Err(Violation::LengthNotMinimal);
                }
                return Ok(value);
            }
        }
        Err(Violation::LengthMalformed)
    }

    /// Binary data with its two-byte length.
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Violation> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A UTF-8 string with its two-byte length: well-formed [MQTT-1.5.4-1], without U+0000 [MQTT-1.5.4-2]. A leading
    /// U+FEFF stays part of it [MQTT-1.5.4-3].
    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str, Violation> {
        let string = self.utf8()?;
        if string.as_bytes().contains(&0) { Err(Violation::Utf8Null) } else { Ok(string) }
    }

    /// As [`Self::string`], for a caller that looks at every byte itself and refuses U+0000 there.
    #[inline]
    pub(crate) fn utf8(&mut self) -> Result<&'a str, Violation> {
        std::str::from_utf8(self.binary()?).map_err(|_| Violation::Utf8Malformed)
    }

    /// The end of the packet: nothing may be left.
    #[inline]
    pub(crate) const fn finish(&self) -> Result<(), Violation> {
        if self.rest.is_empty() { Ok(()) } else { Err(Violation::LeftOver) }
    }
}
