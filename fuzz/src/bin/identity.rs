//! Fuzz target, see `bitsim_fuzz::identity`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: bitsim_fuzz::seeds::write("identity"),
    |data: &[u8]| bitsim_fuzz::identity::check(data)
);
