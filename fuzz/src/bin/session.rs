//! Fuzz target, see `bitsim_fuzz::session`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: bitsim_fuzz::seeds::write("session"),
    |data: &[u8]| bitsim_fuzz::session::check(data)
);
