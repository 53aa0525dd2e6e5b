//! perf-report: sums up a folder of benchmark results, or holds two against each other.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use blipmq::bench::failure::Failure;
use blipmq::bench::results::{self, compare, plot, table};
use clap::{Parser, Subcommand};

/// Reads what perf/ has measured.
#[derive(Parser)]
#[command(name = "perf-report", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write README.md and its pictures into a results folder
    Sum { folder: PathBuf },
    /// Write a table of what differs between two results folders to standard output
    Compare { before: PathBuf, after: PathBuf },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Sum { folder } => sum(&folder),
        Command::Compare { before, after } => compare_folders(&before, &after),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("perf-report: {failure}");
            ExitCode::from(failure.exit_code() as u8)
        }
    }
}

fn sum(folder: &Path) -> Result<(), Failure> {
    let scenarios = results::read(folder)?;
    let title = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    std::fs::write(folder.join("README.md"), table::page(&title, &scenarios))?;
    std::fs::write(folder.join("throughput.svg"), plot::throughput(&scenarios))?;
    std::fs::write(folder.join("latency.svg"), plot::latency(&scenarios))?;
    Ok(std::fs::write(folder.join("over-time.svg"), plot::over_time(&scenarios))?)
}

fn compare_folders(before: &Path, after: &Path) -> Result<(), Failure> {
    print!("{}", compare::page(&results::read(before)?, &results::read(after)?));
    Ok(())
}
