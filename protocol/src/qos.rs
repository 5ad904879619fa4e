//! Quality of service.

/// Quality of service of a message or of a subscription, ordered from weakest to strongest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Qos {
    /// QoS 0.
    #[default]
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

/// A number that is no QoS: 3 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidQos;

impl Qos {
    /// The QoS in the low two bits of `bits`; `None` for 3.
    #[inline]
    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
        match bits & 0b11 {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

impl From<Qos> for u8 {
    fn from(qos: Qos) -> Self {
        qos as Self
    }
}

impl TryFrom<u8> for Qos {
    type Error = InvalidQos;

    fn try_from(number: u8) -> Result<Self, InvalidQos> {
        match number {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            _ => Err(InvalidQos),
        }
    }
}
