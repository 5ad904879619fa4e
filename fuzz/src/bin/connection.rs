//! Fuzz target, see `bitsim_fuzz::connection`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: bitsim_fuzz::seeds::write("connection"),
    |data: &[u8]| bitsim_fuzz::connection::check(data)
);
