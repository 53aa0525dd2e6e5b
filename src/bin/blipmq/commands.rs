//! Which commands there are.

mod connect;
mod duration;
mod failure;
mod key;
mod message;
mod output;
mod ping;
mod publish;
mod start;
mod subs;
mod subscribe;
mod table;
mod topics;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;
use output::Output;

/// Talks to a BlipMQ broker.
#[derive(Parser)]
#[command(name = "blipmq", version, after_help = failure::EXIT_CODES)]
struct Arguments {
    /// Write JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Pub(publish::Arguments),
    Sub(subscribe::Arguments),
    Topics(topics::Arguments),
    Subs(subs::Arguments),
    Ping(ping::Arguments),
    Key(key::Arguments),
}

pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut output = Output::stdout(arguments.json);
    let done = run(arguments.command, &mut output).and_then(|()| output.flush());
    match done {
        Ok(()) | Err(Failure::ReaderGone) => ExitCode::SUCCESS,
        Err(failure) => {
            // What was written before the failure is still wanted.
            let _ = output.flush();
            eprintln!("blipmq: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Pub(arguments) => publish::run(&arguments, output),
        Command::Sub(arguments) => subscribe::run(&arguments, output),
        Command::Topics(arguments) => topics::run(&arguments, output),
        Command::Subs(arguments) => subs::run(&arguments, output),
        Command::Ping(arguments) => ping::run(&arguments, output),
        Command::Key(arguments) => key::run(&arguments, output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_of_all_commands_are_consistent() {
        super::Arguments::command().debug_assert();
    }
}
