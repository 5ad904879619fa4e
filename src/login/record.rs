//! One password hash, as a line of the password file has it.
//!
//! We write Argon2id. What Mosquitto wrote is verified too: `$7$` (PBKDF2 with SHA-512) and `$6$` (one salted
//! SHA-512, weak; `bitsim passwd` replaces it). Costs are bounded when a line is read, so that no line can make one
//! log-in take the memory or the time of thousands.

use std::fmt;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

/// Most memory one Argon2 hash may need, in KiB.
const MEMORY_KIB_MAX: u32 = 256 << 10;
/// Most passes over that memory.
const PASSES_MAX: u32 = 16;
/// Most iterations of PBKDF2.
const ITERATIONS_MAX: u32 = 10_000_000;
/// Longest salt, in bytes.
const SALT_BYTES_MAX: usize = 64;
const SHA512_BYTES: usize = 64;

/// Why a hash cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// It is none of the known forms; perhaps a password as it is.
    UnknownForm,
    /// It is of a known form, but damaged or cut.
    Damaged,
    /// Its costs are higher than any sensible one.
    TooCostly,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownForm => {
                "the hash is neither Argon2 ($argon2id$..) nor Mosquitto's ($7$.., $6$..); is it a password as it is?"
            }
            Self::Damaged => "the hash is damaged or cut",
            Self::TooCostly => "the hash asks for more memory or time than a log-in may take",
        })
    }
}

impl std::error::Error for RecordError {}

/// A hash that was read and found usable.
#[derive(Clone, Debug)]
pub(super) enum Record {
    Argon2(Box<PasswordHash>),
    Pbkdf2 { iterations: u32, salt: Box<[u8]>, hash: [u8; SHA512_BYTES] },
    Sha512 { salt: Box<[u8]>, hash: [u8; SHA512_BYTES] },
}

impl Record {
    pub(super) fn parse(text: &str) -> Result<Self, RecordError> {
        if text.starts_with("$argon2") {
            return Self::argon2(text);
        }
        let mut fields = text.split('$');
        let form = (fields.next(), fields.next());
        let record = match form {
            (Some(""), Some("7")) => {
                let iterations = number(fields.next())?;
                if iterations > ITERATIONS_MAX {
                    return Err(RecordError::TooCostly);
                }
                Self::Pbkdf2 { iterations, salt: salt(fields.next())?, hash: digest(fields.next())? }
            }
            (Some(""), Some("6")) => {
                Self::Sha512 { salt: salt(fields.next())?, hash: digest(fields.next())? }
            }
            _ => return Err(RecordError::UnknownForm),
        };
        if fields.next().is_some() { Err(RecordError::Damaged) } else { Ok(record) }
    }

    fn argon2(text: &str) -> Result<Self, RecordError> {
        let hash = PasswordHash::new(text).map_err(|_| RecordError::Damaged)?;
        let params = Params::try_from(&hash).map_err(|_| RecordError::Damaged)?;
        if argon2::Algorithm::new(hash.algorithm.as_str()).is_err()
            || hash.salt.is_none()
            || hash.hash.is_none()
        {
            return Err(RecordError::Damaged);
        }
        if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX {
            return Err(RecordError::TooCostly);
        }
        Ok(Self::Argon2(Box::new(hash)))
    }

    /// Whether this is the password. Takes as long whether it is or not.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(hash) => Argon2::default().verify_password(password, hash.as_ref()).is_ok(),
            Self::Pbkdf2 { iterations, salt, hash } => {
                let mut computed = [0; SHA512_BYTES];
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, *iterations, &mut computed);
                bool::from(computed.ct_eq(hash))
            }
            Self::Sha512 { salt, hash } => {
                let computed = Sha512::new().chain_update(password).chain_update(salt).finalize();
                bool::from(computed.as_slice().ct_eq(hash))
            }
        }
    }
}

/// The hash of a new password, Argon2id with 19 MiB and two passes.
///
/// # Errors
/// The system gave no random numbers for a salt.
pub fn hash_password(password: &[u8]) -> Result<String, argon2::password_hash::Error> {
    Argon2::default().hash_password(password).map(|hash| hash.to_string())
}

fn number(field: Option<&str>) -> Result<u32, RecordError> {
    let number = field.and_then(|field| field.parse().ok()).ok_or(RecordError::Damaged)?;
    if number == 0 { Err(RecordError::Damaged) } else { Ok(number) }
}

fn salt(field: Option<&str>) -> Result<Box<[u8]>, RecordError> {
    let salt = Base64::decode_vec(field.unwrap_or_default()).map_err(|_| RecordError::Damaged)?;
    if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
        return Err(RecordError::Damaged);
    }
    Ok(salt.into_boxed_slice())
}

fn digest(field: Option<&str>) -> Result<[u8; SHA512_BYTES], RecordError> {
    let bytes = Base64::decode_vec(field.unwrap_or_default()).map_err(|_| RecordError::Damaged)?;
    <[u8; SHA512_BYTES]>::try_from(bytes.as_slice()).map_err(|_| RecordError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pbkdf2_line(password: &[u8], iterations: u32) -> String {
        let mut hash = [0; SHA512_BYTES];
        pbkdf2::pbkdf2_hmac::<Sha512>(password, b"twelve bytes", iterations, &mut hash);
        format!("$7${iterations}${}${}", Base64::encode_string(b"twelve bytes"), Base64::encode_string(&hash))
    }

    #[test]
    fn argon2_is_written_and_read() {
        let line = hash_password(b"correct horse").expect("a salt");
        assert!(line.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{line}");
        assert_ne!(line, hash_password(b"correct horse").expect("a salt"), "each hash has its own salt");
        let record = Record::parse(&line).expect("our own line");
        assert!(record.verify(b"correct horse"));
        assert!(!record.verify(b"correct horsf") && !record.verify(b""));
    }

    #[test]
    fn hashes_of_mosquitto_are_read() {
        let record = Record::parse(&pbkdf2_line(b"secret", 101)).expect("a $7$ line");
        assert!(record.verify(b"secret") && !record.verify(b"Secret"));
        let mut hash = Sha512::new();
        hash.update(b"secret");
        hash.update(b"salt of 12 b");
        let line = format!(
            "$6${}${}",
            Base64::encode_string(b"salt of 12 b"),
            Base64::encode_string(&hash.finalize())
        );
        let record = Record::parse(&line).expect("a $6$ line");
        assert!(record.verify(b"secret") && !record.verify(b"secret "));
    }

    /// Written by Debian's mosquitto_passwd for the password "pw".
    #[test]
    fn what_mosquitto_passwd_wrote_is_verified() {
        const LINE: &str = "$7$101$S1YBpXZClEd8Kd3k$ZtnZIBAartBpXR9O8+FTYdtagc5+C6mdMIh46P8fqH6pq0p67Bzi1pru1XR8ByTr09uPb9S7qjvxa1NRmeO2rg==";
        let record = Record::parse(LINE).expect("its line");
        assert!(record.verify(b"pw") && !record.verify(b"pW"));
    }

    #[test]
    fn damage_is_told_from_unknown_forms_and_cut_lines_never_verify() {
        for text in ["", "secret", "$1$abc", "7$101$a$b", "$2b$12$abc"] {
            assert_eq!(Record::parse(text).err(), Some(RecordError::UnknownForm), "{text}");
        }
        for line in [hash_password(b"x").expect("a salt"), pbkdf2_line(b"x", 5)] {
            for cut in 3..line.len() {
                match Record::parse(&line[..cut]) {
                    Err(_) => {}
                    Ok(record) => assert!(!record.verify(b"x"), "{} is cut", &line[..cut]),
                }
            }
        }
    }

    #[test]
    fn a_line_cannot_ask_for_any_amount_of_work() {
        let costly = hash_password(b"x").expect("a salt").replace("m=19456", "m=4000000");
        assert_eq!(Record::parse(&costly).err(), Some(RecordError::TooCostly));
        let costly = pbkdf2_line(b"x", 5).replace("$5$", "$4000000000$");
        assert_eq!(Record::parse(&costly).err(), Some(RecordError::TooCostly));
        assert_eq!(
            Record::parse(&pbkdf2_line(b"x", 5).replace("$5$", "$0$")).err(),
            Some(RecordError::Damaged)
        );
    }
}
