//! Fuzz target, see `bitsim_fuzz::hostile`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: bitsim_fuzz::seeds::write("hostile"),
    |data: &[u8]| bitsim_fuzz::hostile::check(data)
);
