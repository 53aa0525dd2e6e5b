//! blipmqd: arguments to configuration to `runtime::run` to exit code.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use blipmq::config::{self, Config, Loaded, Sources};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

/// The configuration is wrong; nothing was started.
const EXIT_CONFIG: u8 = 2;

/// A program that can have a bad day on purpose says so: it is not the one to be run.
const VERSION: &str = match cfg!(feature = "faults") {
    true => concat!(env!("CARGO_PKG_VERSION"), " with faults"),
    false => env!("CARGO_PKG_VERSION"),
};

fn main() -> ExitCode {
    let arguments = command().get_matches();
    let Loaded { config, warnings } = match config::load(&sources(&arguments)) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprint!("{problems}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    if arguments.get_flag("validate-config") { validated(&config) } else { run(config) }
}

fn command() -> Command {
    let flags = config::flags().map(|key| {
        Arg::new(key.name).long(key.dashed()).value_name("VALUE").help(key.meaning).allow_hyphen_values(true)
    });
    Command::new("blipmqd")
        .version(VERSION)
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .after_long_help(config::help())
        .arg(
            Arg::new("config").long("config").value_name("FILE").value_parser(value_parser!(PathBuf)).help("TOML file"),
        )
        .arg(Arg::new("validate-config").long("validate-config").action(ArgAction::SetTrue).help(
            "Check the configuration, say what would be in force and what power loss could take, and exit (0 or 2)",
        ))
        .args(flags)
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .value_parser(pair)
                .help("Set any key"),
        )
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().into(), value.trim().into()))
}

fn sources(arguments: &ArgMatches) -> Sources {
    let set = arguments.get_many::<(String, String)>("set").into_iter().flatten().cloned();
    let flags = config::flags().filter_map(|key| {
        let value = arguments.get_one::<String>(key.name)?;
        Some((key.name.to_owned(), value.clone()))
    });
    Sources::of_process(arguments.get_one("config").cloned(), set.chain(flags).collect())
}

fn validated(config: &Config) -> ExitCode {
    if let Err(failure) = blipmq::runtime::check(config) {
        eprintln!("{failure}");
        return ExitCode::from(u8::try_from(failure.exit as i32).unwrap_or(1));
    }
    // A reader that has gone does not make the configuration wrong.
    let _ = std::io::stdout().write_all(config::report(config).as_bytes());
    ExitCode::SUCCESS
}

fn run(config: Config) -> ExitCode {
    ExitCode::from(u8::try_from(blipmq::runtime::run(config)).unwrap_or(1))
}
