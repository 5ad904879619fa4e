//! What a completion says about its operation: the 64 bits of `user_data`.
//!
//! Layout, high to low: operation (8 bits), generation of the slot (24), slot index (32). The generation makes a
//! completion that arrives after its slot was given to another connection recognisable.

/// Generations are 24 bits wide in a key, so everywhere.
pub(crate) const GENERATION_MASK: u32 = 0x00ff_ffff;

/// The kind of operation a completion belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Receive = 1,
    Send = 2,
    Connect = 3,
    Accept = 4,
    Bell = 5,
    /// A cancel of this slot's receive. Only failures complete.
    CancelReceive = 6,
    /// A cancel of a listener's accept. Only failures complete.
    CancelAccept = 7,
    /// A cancel of this slot's send or connect. Only failures complete.
    CancelOutgoing = 8,
}

impl Operation {
    fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            1 => Self::Receive,
            2 => Self::Send,
            3 => Self::Connect,
            4 => Self::Accept,
            5 => Self::Bell,
            6 => Self::CancelReceive,
            7 => Self::CancelAccept,
            8 => Self::CancelOutgoing,
            _ => return None,
        })
    }
}

/// One operation of one generation of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) operation: Operation,
    pub(crate) generation: u32,
    pub(crate) slot: u32,
}

impl Key {
    pub(crate) fn new(operation: Operation, generation: u32, slot: u32) -> Self {
        Self { operation, generation, slot }
    }

    pub(crate) fn pack(self) -> u64 {
        (self.operation as u64) << 56
            | u64::from(self.generation & GENERATION_MASK) << 32
            | u64::from(self.slot)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the fields are cut out by mask")]
    pub(crate) fn unpack(user_data: u64) -> Option<Self> {
        let operation = Operation::from_bits(user_data >> 56)?;
        Some(Self {
            operation,
            generation: (user_data >> 32) as u32 & GENERATION_MASK,
            slot: user_data as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_packing() {
        for operation in [Operation::Receive, Operation::CancelOutgoing] {
            for (generation, slot) in [(0, 0), (1, u32::MAX), (GENERATION_MASK, 7)] {
                let key = Key::new(operation, generation, slot);
                assert_eq!(Key::unpack(key.pack()), Some(key));
            }
        }
        assert_eq!(Key::unpack(0), None);
        assert_eq!(Key::unpack(u64::MAX), None);
    }
}
