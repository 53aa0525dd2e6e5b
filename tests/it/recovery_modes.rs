//! A corrupt log under each mode of `recovery`, on the real daemon: what it says, how it ends, what it gives.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use blipmq::torture::{cli::Common, damage};

use crate::support::load;
use crate::support::{Broker, Workspace};

const SAFE: &str = "fsync_policy = \"always\"\n";
const SENT: u64 = 30;
/// Where a segment's first message stands in this story: behind the header and the topic.
const BLOCK: usize = 4096;

/// A broker was killed; the middle one of its thirty messages is damaged. Answers with its place, as it is told.
fn corrupt() -> (Workspace, PathBuf, String) {
    let workspace = Workspace::new();
    let broker = workspace.start(SAFE);
    let client = broker.client();
    client.subscribe(&load::durable("orders")).unwrap().unsubscribe(false).unwrap();
    for nth in 0..SENT {
        client.publish("orders", format!("message {nth:02}").as_bytes(), &load::QOS_1).unwrap();
    }
    broker.kill();
    let file = workspace.data().join("shard-0000/00000000000000000000.log");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(10).position(|window| window == b"message 15").expect("it is in the log");
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    let place = format!("log 0, segment 0, byte {}: the batch's checksum does not match", at / BLOCK * BLOCK);
    (workspace, file, place)
}

fn came(broker: &Broker, last: u64) -> Vec<u64> {
    load::came(broker, "orders", last, |offset, value| assert_eq!(value, format!("message {offset:02}").as_bytes()))
}

#[test]
fn refuse_ends_with_exit_code_4_and_names_the_place_and_the_commands_and_touches_nothing() {
    let (workspace, file, place) = corrupt();
    let before = fs::read(&file).unwrap();
    for keys in [SAFE.to_owned(), format!("{SAFE}recovery = \"refuse\"")] {
        let Err(ended) = workspace.try_start(&keys) else { panic!("it started") };
        assert_eq!(ended.code, Some(4), "{ended:?}");
        let data = workspace.data();
        let commands = [
            format!("blipmq wal check {}", data.display()),
            format!("blipmq wal truncate {} --shard 0 --backup", data.display()),
        ];
        for told in commands.iter().chain([&place, &file.display().to_string()]) {
            assert!(ended.stderr.contains(told), "{told} is not in {ended:?}");
        }
    }
    assert!(fs::read(&file).unwrap() == before);
}

#[test]
fn the_command_that_the_message_names_repairs_it() {
    let (workspace, _, _) = corrupt();
    let Err(ended) = workspace.try_start(SAFE) else { panic!("it started") };
    let named = ended.stderr.split('`').find(|words| words.starts_with("blipmq wal truncate")).expect("it is named");
    let words = named.replace("--backup DIR", "--no-backup");
    let done = Command::new(env!("CARGO_BIN_EXE_blipmq")).args(words.split(' ').skip(1)).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(came(&workspace.start(SAFE), 14), (0..15).collect::<Vec<_>>());
}

#[test]
fn truncate_and_skip_start_say_what_is_lost_count_it_and_are_not_asked_again() {
    let skipped = (0..SENT).filter(|nth| *nth != 15).collect::<Vec<_>>();
    for (mode, expected) in [("truncate", (0..15).collect::<Vec<_>>()), ("skip", skipped)] {
        let (workspace, _, place) = corrupt();
        let broker = workspace.start(&format!("{SAFE}recovery = \"{mode}\""));
        let log = broker.log();
        assert!(log.contains(&format!("corrupt, and left out as recovery says: {place}")), "{log}");
        assert!(log.contains("are not part of the log any more"), "{log}");
        let metrics = broker.lines.iter().find_map(|line| line.strip_prefix("metrics ")).expect("it says where");
        assert_eq!(figure(metrics.trim(), "blipmq_wal_corruptions_total"), 1, "{mode}");
        let last = *expected.last().unwrap();
        assert_eq!(came(&broker, last), expected, "{mode}");
        broker.kill();
        let again = workspace.start(SAFE);
        assert!(!again.log().contains("corrupt"), "{mode}: {}", again.log());
        again.stop();
    }
}

/// On a device that is slow, so that the first checkpoint of the log takes its time, and that forgets what is not synced.
#[test]
fn what_was_decided_is_durable_before_anybody_is_served() {
    for mode in ["truncate", "skip"] {
        let (workspace, _, _) = corrupt();
        let mut command = workspace.configured(&format!("{SAFE}recovery = \"{mode}\""));
        command.env("BLIPMQ_FAULTS", "hold=1,early=0,delay_ms=200");
        workspace.spawn(command).expect("it starts").kill();
        let again = workspace.start(SAFE);
        assert!(!again.log().contains("corrupt"), "{mode}: {}", again.log());
        again.stop();
    }
}

fn figure(url: &str, name: &str) -> u64 {
    use std::io::{Read, Write};
    let (addr, path) = url.trim_start_matches("http://").split_once('/').expect("an address and a path");
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let lines = page.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// The trial, for a moment. Which log it damages depends on how the groups fell.
#[test]
fn hundreds_of_damages_are_noticed_and_told() {
    let workspace = Workspace::new();
    let common = Common {
        seed: None,
        broker: Some(env!("CARGO_BIN_EXE_blipmqd").into()),
        data_dir: workspace.path().into(),
        keep: false,
    };
    let verdict = damage::run(&damage::Arguments { common, damages: 240, live: 120 }, 1).unwrap();
    assert!(verdict.holds(), "{verdict}");
}
