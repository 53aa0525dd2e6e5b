//! What can go wrong at the start: one line what, one line what to do, an exit code, and nothing started.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::{Broker, Ended, Workspace};

/// Fails with this code, in two lines: what is wrong, and, indented, what to do about it.
#[track_caller]
fn refused(started: Result<Broker, Ended>, code: i32, what: &str) {
    let Err(ended) = started else { panic!("it started") };
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(ended.stderr.contains(what), "{ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| !line.starts_with(['[', 'w'])).collect();
    assert!(lines.len() == 2 && lines[0].starts_with("blipmqd: ") && lines[1].starts_with("  "), "{ended:?}");
}

const IN_MEMORY: &str = "wal = \"off\"\n";

#[test]
fn it_says_where_it_listens_where_its_data_is_and_what_to_type_next() {
    let workspace = Workspace::new();
    let broker = workspace.start("");
    let said = broker.lines.join("\n");
    assert!(said.starts_with(&format!("blipmqd {}\n", env!("CARGO_PKG_VERSION"))), "{said}");
    assert!(said.contains(&format!("listening on {}", broker.address)), "{said}");
    assert!(said.contains(workspace.data().to_str().unwrap()), "{said}");
    assert!(said.contains("every_n:64") && said.contains("power loss"), "{said}");
    assert!(said.contains("/metrics"), "{said}");
    assert!(broker.lines.last().unwrap().contains(&format!("--addr {}", broker.address)), "{said}");
}

#[test]
fn what_it_says_to_type_next_can_be_typed() {
    let workspace = Workspace::new();
    let broker = workspace.start("allowed_api_keys = []");
    let next = broker.lines.last().unwrap().strip_prefix("next ").unwrap();
    for typed in next.rsplit("and, elsewhere,") {
        let words = typed.trim().strip_prefix("blipmq ").unwrap().split(' ');
        let earlier = if typed.contains("sub") { &["--from", "earliest", "--count", "1"][..] } else { &[] };
        let output = Command::new(env!("CARGO_BIN_EXE_blipmq")).env_clear().args(words).args(earlier).output().unwrap();
        assert!(output.status.success(), "{typed}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains(if earlier.is_empty() {
            "published 1"
        } else {
            "hello"
        }));
    }
}

#[test]
fn a_port_that_is_taken_is_exit_code_5() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    refused(Workspace::new().try_start(&format!("{IN_MEMORY}port = {port}")), 5, "in use");
}

#[test]
fn a_port_that_another_broker_has_is_exit_code_5() {
    let first = Broker::in_memory("");
    let port = first.address.port();
    refused(Workspace::new().try_start(&format!("{IN_MEMORY}port = {port}")), 5, "in use");
    first.client().ping().unwrap();
}

#[test]
fn a_directory_that_another_broker_has_is_exit_code_4() {
    let workspace = Workspace::new();
    for wal in ["", IN_MEMORY] {
        let first = workspace.start(wal);
        refused(workspace.try_start(wal), 4, "in use by process");
        first.client().ping().unwrap();
        first.stop();
    }
}

#[test]
fn a_directory_that_cannot_be_made_or_written_is_exit_code_4() {
    let workspace = Workspace::new();
    let file = workspace.path().join("file");
    fs::write(&file, "").unwrap();
    refused(workspace.try_start(&format!("wal_path = {:?}", file.join("data"))), 4, "file/data");
    refused(workspace.try_start(&format!("wal_path = {file:?}")), 4, "file");
    refused(workspace.try_start("wal_path = \"/proc/blipmq\""), 4, "/proc/blipmq");
    if !nix::unistd::geteuid().is_root() {
        fs::create_dir(workspace.data()).unwrap();
        fs::set_permissions(workspace.data(), fs::Permissions::from_mode(0o500)).unwrap();
        refused(workspace.try_start(""), 4, "data");
    }
}

#[test]
fn a_directory_of_a_newer_format_is_exit_code_4_and_left_as_it_is() {
    let workspace = Workspace::new();
    workspace.start("").stop();
    let file = workspace.data().join("version");
    let text = fs::read_to_string(&file).unwrap();
    let newer = text.replace("format 1", "format 9");
    fs::write(&file, &newer).unwrap();
    refused(workspace.try_start(""), 4, "format 9");
    assert_eq!(fs::read_to_string(&file).unwrap(), newer);
}

#[test]
fn a_wrong_configuration_is_exit_code_2_with_all_that_is_wrong_at_once() {
    let workspace = Workspace::new();
    let wrong = "max_topics = 0\nfsync_policy = \"often\"\ncolour = \"red\"\nmax_retries = \"three\"";
    let Err(ended) = workspace.try_start(wrong) else { panic!("it started") };
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for name in ["max_topics", "fsync_policy", "colour", "max_retries"] {
        assert!(ended.stderr.contains(name), "{name}: {ended:?}");
    }
    assert!(!workspace.data().exists(), "nothing was started");
}

#[test]
fn a_configuration_file_that_is_not_there_is_exit_code_2() {
    let workspace = Workspace::new();
    let mut command = workspace.daemon();
    command.args(["--config", "nowhere.toml"]);
    let Err(ended) = workspace.spawn(command) else { panic!("it started") };
    assert!(ended.code == Some(2) && ended.stderr.contains("nowhere.toml"), "{ended:?}");
}

#[test]
fn too_few_open_files_for_the_connections_are_exit_code_3_with_the_number_needed() {
    let workspace = Workspace::new();
    refused(limited(&workspace, "ulimit -n 400", "--set=max_connections=5000"), 3, "needs 5");
}

#[test]
fn more_cores_than_there_are_is_exit_code_3() {
    let many = std::thread::available_parallelism().map_or(1, usize::from) + 1;
    refused(Workspace::new().try_start(&format!("{IN_MEMORY}cores = {many}")), 3, &format!("cores = {many}"));
    refused(Workspace::new().try_start(&format!("{IN_MEMORY}cores = \"999-999\"")), 3, "999");
}

/// Starts the daemon from a shell that has limited itself first.
fn limited(workspace: &Workspace, limit: &str, argument: &str) -> Result<Broker, Ended> {
    let daemon = workspace.daemon();
    let script = format!("{limit}; exec \"$0\" --wal off --port 0 --metrics-port 0 --cores 1 {argument}");
    let mut command = Command::new("/bin/sh");
    command.env_clear().current_dir(workspace.path()).args(["-c", &script]).arg(daemon.get_program());
    workspace.spawn(command)
}

#[test]
fn a_soft_limit_on_open_files_is_raised_as_far_as_allowed() {
    let workspace = Workspace::new();
    let broker =
        limited(&workspace, "ulimit -S -n 256", "--set=max_connections=300").expect("the hard limit is higher");
    drop(broker);
}

#[test]
fn without_a_key_configured_one_is_made_that_only_this_user_can_read_and_is_kept() {
    let workspace = Workspace::new();
    let run = || workspace.start("wal = \"off\"\nallowed_api_keys = []");
    let file = workspace.data().join("api-key");
    let first = {
        let broker = run();
        let key = fs::read_to_string(&file).unwrap().trim().to_owned();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        broker.wire().shake_hands(1, &key);
        let mut wire = broker.wire();
        wire.say(|out| {
            blipmq::protocol::native::command::hello(out, 1, 1);
            blipmq::protocol::native::command::auth(out, 2, "");
        });
        assert_eq!(wire.frame().kind, 0x05);
        assert!([400, 401].contains(&wire.nack().1));
        assert!(!broker.lines.join("\n").contains(&key) && !broker.log().contains(&key), "the key is told to nobody");
        broker.stop();
        key
    };
    let broker = run();
    broker.wire().shake_hands(1, &first);
}

#[test]
fn the_environment_goes_before_the_file_and_the_command_line_before_both() {
    let workspace = Workspace::new();
    fs::write(workspace.path().join("b.toml"), "port = 1\nmax_aliases = 5\nmax_in_flight = 5\nwal = \"off\"\n")
        .unwrap();
    let mut command = workspace.daemon();
    command.args(["--config", "b.toml", "--set", "max_aliases=7", "--metrics-port", "0"]);
    command.env("PORT", "2").env("BLIPMQ_PORT", "0").env("BLIPMQ_MAX_ALIASES", "6").env("ALLOWED_API_KEYS", "secret");
    command.env("BLIPMQ_MAX_CONNECTIONS", "100");
    let broker = workspace.spawn(command).expect("it starts");
    let welcome = broker.client().welcome().unwrap();
    assert_eq!((welcome.aliases_max, welcome.in_flight_max), (7, 5));
}

#[test]
fn a_checked_configuration_is_reported_with_what_power_loss_could_take_and_nothing_is_started() {
    let workspace = Workspace::new();
    let run = |arguments: &[&str]| workspace.daemon().args(arguments).output().unwrap();
    let output = run(&["--validate-config", "--fsync-policy", "every_n:7", "--wal-path", "data"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(said.contains("at most the last 7 acknowledged records"), "{said}");
    assert!(!workspace.data().exists());
    assert_eq!(run(&["--validate-config", "--fsync-policy", "7"]).status.code(), Some(2));
    let version = run(&["--version"]);
    // The daemon of the tests is one that can have a bad day, and says so.
    let expected = format!("blipmqd {} with faults\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), expected);
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["--no-such-flag"]).status.code(), Some(2));
}
