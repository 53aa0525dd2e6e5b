//! One seed, from beginning to end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::plant::Plant;
use super::violation::Violation;
use super::world::{Report, World};

/// Runs the world of one seed. A panic of the broker is a violation like any other.
pub fn run(seed: u64, plant: Option<Plant>, print: bool) -> Result<Report, Violation> {
    let world = World::new(seed, plant, print);
    catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Violation {
    let words = panic.downcast_ref::<String>().cloned();
    let words = words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    Violation { sentence: "no input makes the broker panic", detail: words.unwrap_or_default() }
}
