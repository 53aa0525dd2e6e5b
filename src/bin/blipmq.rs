//! blipmq: the command line. One file a command, in `blipmq/`.

#[path = "blipmq/commands.rs"]
mod commands;

fn main() -> std::process::ExitCode {
    commands::main()
}
