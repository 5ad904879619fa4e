//! The first inputs of each target. A target that runs with `FUZZ_SEEDS=FOLDER` writes its own there before libFuzzer
//! reads its corpus. Files have fixed names, so doing it again changes nothing.

use std::path::Path;

use bitsim_protocol::{Version, split_frame};

use crate::packets;

/// A name and the input.
type Seed = (String, Vec<u8>);

/// Writes the seeds of a target if the environment asks for them.
///
/// # Panics
/// If the folder cannot be written to.
pub fn write(target: &str) {
    let Some(folder) = std::env::var_os("FUZZ_SEEDS") else { return };
    let seeds = match target {
        "decode" | "identity" | "hostile" => versions(target),
        _ => noise(),
    };
    for (name, bytes) in seeds {
        std::fs::write(Path::new(&folder).join(name), bytes).expect("the folder of the seeds exists");
    }
}

fn versions(target: &str) -> Vec<Seed> {
    let all = [(0, Version::V31), (1, Version::V311), (2, Version::V5)];
    all.into_iter().flat_map(|(number, version)| of_packets(target, number, &packets::all(version))).collect()
}

fn of_packets(target: &str, version: u8, packets: &[Vec<u8>]) -> Vec<Seed> {
    let name = |what: usize| format!("seed-{version}-{what}");
    let alone = packets.iter().enumerate();
    match target {
        "decode" => {
            let stream = (name(999), [&[version, 90], packets.concat().as_slice()].concat());
            alone
                .map(|(at, packet)| (name(at), [&[version, 17], packet.as_slice()].concat()))
                .chain([stream])
                .collect()
        }
        "identity" => alone
            .filter_map(|(at, packet)| {
                let frame = split_frame(packet, u32::MAX).ok()??;
                Some((name(at), [&[version, frame.first], frame.body].concat()))
            })
            .collect(),
        _ => vec![(name(0), crate::hostile::scripted(packets))],
    }
}

fn noise() -> Vec<Seed> {
    let bytes = |length: u32| (0..length).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    [40, 400, 2_000].map(|length| (format!("seed-{length}"), bytes(length))).into()
}
