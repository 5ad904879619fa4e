//! The slots: what the ring knows of each connection.
//!
//! Lives on the ring's thread. A slot is freed only when none of its operations is outstanding; freeing raises its
//! generation, so an older `SlotId` finds nothing. Bounded by `RingConfig::slots_max`; 48 bytes per slot.

use crate::key::{GENERATION_MASK, Key, Operation};
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Names one connection of one ring for as long as it lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId {
    /// Index, dense from 0: fit for a table beside the ring's.
    pub slot: u32,
    /// Which connection of that index; 24 bits, never 0 for a live slot.
    pub generation: u32,
}

impl fmt::Debug for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// How far a slot is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Free,
    Open,
    /// The owner said goodbye: the last send drains, then the sending side is shut and the peer's end is awaited.
    Finishing,
    /// Shut down; waits for the last completions.
    Closing,
}

/// How much a receive takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    /// One buffer, then nothing until asked again.
    Once,
    /// Everything, until paused.
    Multishot,
}

/// What the kernel reads from a slot's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    Nothing,
    /// `memory` from `sent` on.
    Send,
    /// `memory` is the address to connect to.
    Connect,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) descriptor: Option<OwnedFd>,
    pub(crate) generation: u32,
    pub(crate) phase: Phase,
    /// What the owner wants to receive.
    pub(crate) wanted: Option<Receive>,
    /// The receive the kernel has.
    pub(crate) armed: Option<Receive>,
    /// A cancel of `armed` is under way.
    pub(crate) cancelling: bool,
    /// In the queue of those waiting for buffers.
    pub(crate) starved: bool,
    pub(crate) outgoing: Outgoing,
    /// The sending side is shut.
    pub(crate) write_shut: bool,
    /// Bytes of `memory` the kernel took.
    pub(crate) sent: u32,
    pub(crate) memory: Vec<u8>,
}

const _: () = assert!(size_of::<Slot>() <= 48);

impl Slot {
    fn vacant() -> Self {
        Self {
            descriptor: None,
            generation: 1,
            phase: Phase::Free,
            wanted: None,
            armed: None,
            cancelling: false,
            starved: false,
            outgoing: Outgoing::Nothing,
            write_shut: false,
            sent: 0,
            memory: Vec::new(),
        }
    }

    /// The descriptor's number; -1 when free.
    pub(crate) fn raw(&self) -> RawFd {
        self.descriptor.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Whether the kernel holds nothing of this slot.
    pub(crate) fn is_quiet(&self) -> bool {
        self.armed.is_none() && self.outgoing == Outgoing::Nothing
    }

    pub(crate) fn key(&self, slot: u32, operation: Operation) -> u64 {
        Key::new(operation, self.generation, slot).pack()
    }
}

/// The slab of slots.
#[derive(Debug)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    max: u32,
}

impl Slots {
    pub(crate) fn new(max: u32) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), max }
    }

    /// Gives `descriptor` a slot, or the descriptor back when all are taken.
    pub(crate) fn insert(&mut self, descriptor: OwnedFd) -> Result<SlotId, OwnedFd> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => match u32::try_from(self.slots.len()) {
                Ok(index) if index < self.max => {
                    self.slots.push(Slot::vacant());
                    index
                }
                _ => return Err(descriptor),
            },
        };
        let Some(slot) = self.slots.get_mut(index as usize) else { return Err(descriptor) };
        debug_assert_eq!(slot.phase, Phase::Free);
        slot.descriptor = Some(descriptor);
        slot.phase = Phase::Open;
        Ok(SlotId { slot: index, generation: slot.generation })
    }

    /// The slot, if `id` is its present generation and it is in use.
    #[inline]
    pub(crate) fn get(&mut self, id: SlotId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        (slot.generation == id.generation && slot.phase != Phase::Free).then_some(slot)
    }

    /// Frees a quiet slot and answers what it held.
    pub(crate) fn remove(&mut self, id: SlotId) -> Option<(OwnedFd, Vec<u8>)> {
        let slot = self.get(id)?;
        assert!(slot.is_quiet(), "a slot was freed while the kernel holds operations of it");
        let generation = match (slot.generation + 1) & GENERATION_MASK {
            0 => 1,
            next => next,
        };
        let vacant = Slot { generation, ..Slot::vacant() };
        let Slot { descriptor, memory, .. } = std::mem::replace(slot, vacant);
        self.free.push(id.slot);
        descriptor.map(|descriptor| (descriptor, memory))
    }

    /// Slots in use.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Every slot in use.
    pub(crate) fn ids(&self) -> Vec<SlotId> {
        let used = (0u32..).zip(&self.slots).filter(|(_, slot)| slot.phase != Phase::Free);
        used.map(|(index, slot)| SlotId { slot: index, generation: slot.generation }).collect()
    }
}
