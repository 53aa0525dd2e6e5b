//! A moment of fuzzing in every test run: seeded inputs, and every input that was ever a crash.

mod targets;

use std::fs;
use std::path::Path;

use fastrand::Rng;

/// Inputs for each target, unless FUZZ_INPUTS says otherwise.
const INPUTS: u64 = 300;

fn folder(name: &str, target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(name).join(target);
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Bytes of chance, or a seed with some of its bytes changed.
fn input(dice: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = match dice.choice(seeds).filter(|_| dice.bool()) {
        Some(seed) => seed.clone(),
        None => (0..dice.usize(0..400)).map(|_| dice.u8(..)).collect(),
    };
    for _ in 0..dice.usize(0..6) {
        if bytes.is_empty() {
            break;
        }
        let at = dice.usize(0..bytes.len());
        match dice.u8(0..4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, dice.u8(..)),
            2 => bytes[at] ^= 1 << dice.u8(0..8),
            _ => bytes[at] = dice.u8(..),
        }
    }
    bytes
}

#[test]
fn no_input_breaks_a_promise() {
    let said = std::env::var("FUZZ_INPUTS").ok().and_then(|inputs| inputs.parse().ok());
    for (name, target) in targets::TARGETS {
        let seeds = folder("seeds", name);
        seeds.iter().for_each(|seed| target(seed));
        let mut dice = Rng::with_seed(name.len() as u64);
        for _ in 0..said.unwrap_or(INPUTS) {
            target(&input(&mut dice, &seeds));
        }
    }
}

#[test]
fn what_was_a_crash_is_none_any_more() {
    for (name, target) in targets::TARGETS {
        folder("crashes", name).iter().for_each(|crash| target(crash));
    }
}
