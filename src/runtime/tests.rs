//! Stories of the runtime with a core that is simpler than ours.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as StdInstant};

use bytes::{Buf, Bytes, BytesMut};

use super::gauges::read;
use super::*;
use crate::model::{Chunk, ConnId, FsyncPolicy, Instant, Limits, LogId, Lsn, RecoveryMode, ShardId};
use crate::shard::ask::{Answer, Question};
use crate::shard::{Action, Arrival, Carry, Event, Letter};
use crate::wal::{BLOCK, GROUP_MAX, GroupPiece, LogAction, LogEvent, LogOptions, ReadFor, THROUGH_MAX, Ticket};

const PATIENCE: Duration = Duration::from_secs(10);

fn settings(dir: &std::path::Path, cores: usize) -> Settings {
    Settings {
        address: "127.0.0.1:0".parse().unwrap(),
        cores,
        these: None,
        pin: Some(false),
        data_dir: dir.to_owned(),
        wal: true,
        fsync: FsyncPolicy::None,
        recovery: RecoveryMode::Refuse,
        connections_max: 2000,
        io_memory: 256 * 1024,
        spin: Duration::ZERO,
        shutdown_timeout: Duration::from_secs(1),
    }
}

/// Two shards even where one core is all there is.
fn start(cores: usize, make_core: MakeCore) -> (Broker, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let prepared = Prepared::new_with_cores(settings(dir.path(), 1), cores).unwrap();
    (prepared.start(Makers { core: make_core, log_options: Arc::new(log_options) }, None).unwrap(), dir)
}

fn log_options(log: LogId) -> LogOptions {
    LogOptions {
        log,
        segment_size: 1 << 20,
        fsync: FsyncPolicy::None,
        retention_ms: 0,
        retention_bytes: 0,
        low_water: 0,
        index_max: usize::MAX,
        through_max: THROUGH_MAX,
    }
}

fn clerks() -> MakeCore {
    Arc::new(|shard, _, _, _| Box::new(Clerk { shard, ..Clerk::default() }))
}

/// Reads lines and does what they say.
#[derive(Default)]
struct Clerk {
    shard: ShardId,
    actions: VecDeque<Action>,
    unread: HashMap<ConnId, BytesMut>,
    resume_at: Option<(Instant, ConnId)>,
    connected: u64,
    unsent: HashMap<ConnId, usize>,
}

impl Clerk {
    fn say(&mut self, conn: ConnId, bytes: Bytes) {
        *self.unsent.entry(conn).or_default() += bytes.len();
        self.actions.push_back(Action::Send { conn, chunks: vec![Chunk::from(bytes)] });
    }

    fn lines(&mut self, now: Instant, conn: ConnId) {
        while let Some(end) = self.unread[&conn].iter().position(|byte| *byte == b'\n') {
            let mut line = self.unread.get_mut(&conn).unwrap().split_to(end + 1).freeze();
            match line[0] {
                b'e' => self.say(conn, line.slice(1..)),
                b'w' => self.say(conn, format!("{}\n", self.shard).into()),
                b'b' => {
                    line.advance(1);
                    let len: usize = std::str::from_utf8(&line).unwrap().trim().parse().unwrap();
                    self.say(conn, Bytes::from(vec![b'x'; len]));
                }
                b'l' => {
                    let chunks = vec![Chunk::from(line.slice(1..))];
                    let letters = vec![Letter::Output { conn, chunks }];
                    self.actions.push_back(Action::Mesh { to: ShardId(1 - self.shard.0), letters });
                }
                b'm' => return self.give_away(conn),
                b'p' => {
                    self.actions.push_back(Action::Pause { conn });
                    self.resume_at = Some((now.plus_ms(100), conn));
                }
                b'c' => self.actions.push_back(Action::Close { conn }),
                b'h' => self.actions.push_back(Action::Halt { code: 6, reason: "as told".into() }),
                other => panic!("{other}"),
            }
        }
    }

    fn give_away(&mut self, conn: ConnId) {
        let unread = self.unread.remove(&conn).unwrap();
        let carry = Box::new(Carry { session: any_session(), unread });
        self.actions.push_back(Action::Move { conn, to: ShardId(1 - self.shard.0), carry });
    }
}

fn any_session() -> crate::shard::session::Session {
    crate::shard::session::Session::new()
}

impl Logic for Clerk {
    fn handle(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected { conn, arrival, .. } => {
                self.connected += 1;
                let unread = match arrival {
                    Arrival::Accepted(_) => BytesMut::new(),
                    Arrival::Moved(carry) => carry.unread,
                };
                self.unread.insert(conn, unread);
                self.lines(now, conn);
            }
            Event::Received { conn, bytes } => {
                let unread = self.unread.get_mut(&conn).expect("nothing is read of what is closed or moved");
                if unread.is_empty() {
                    *unread = bytes;
                } else {
                    unread.extend_from_slice(&bytes);
                }
                self.lines(now, conn);
            }
            Event::Sent { conn, bytes } => {
                let unsent = self.unsent.get_mut(&conn).unwrap();
                *unsent = unsent.checked_sub(bytes).expect("no more is sent than was said");
            }
            Event::Disconnected { conn, .. } => drop(self.unread.remove(&conn)),
            Event::Mesh { letters, .. } => {
                for letter in letters {
                    let Letter::Output { conn, chunks } = letter else { panic!("{letter:?}") };
                    if conn.shard == self.shard {
                        self.say(conn, Bytes::copy_from_slice(chunks[0].as_slice()));
                    } else {
                        let letters = vec![Letter::Output { conn, chunks }];
                        self.actions.push_back(Action::Mesh { to: conn.shard, letters });
                    }
                }
            }
            Event::Timeout => {
                let (due, conn) = self.resume_at.take().unwrap();
                assert!(due <= now);
                self.actions.push_back(Action::Resume { conn });
            }
            Event::Ask { token, question: Question::Drain { .. } } => {
                self.actions.push_back(Action::Answer { token, answer: Answer::Done });
                self.actions.push_back(Action::Drained);
            }
            Event::Ask { token, .. } => {
                self.actions.push_back(Action::Answer { token, answer: Answer::Done });
            }
            Event::Log { event, .. } => assert!(matches!(event, LogEvent::Space { .. }), "{event:?}"),
        }
    }

    fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.resume_at.map(|(due, _)| due)
    }
}

struct Client {
    socket: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        let lines = BufReader::new(socket.try_clone().unwrap());
        Client { socket, lines }
    }

    fn say(&mut self, line: &str) {
        self.socket.write_all(line.as_bytes()).unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.hear()
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = StdInstant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn connections(broker: &Broker) -> u64 {
    broker.gauges.iter().map(|gauges| read(&gauges.connections)).sum()
}

#[test]
fn a_thousand_connections_are_accepted_heard_answered_and_forgotten() {
    let (broker, _dir) = start(2, clerks());
    let mut clients: Vec<Client> = (0..1000).map(|_| Client::connect(broker.address)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.say(&format!("e{n}\n"));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.hear(), format!("{n}\n"));
    }
    assert_eq!(connections(&broker), 1000);
    assert!(broker.gauges.iter().all(|gauges| read(&gauges.accepted) > 100), "the kernel spreads them");
    drop(clients);
    wait_until("all connections are forgotten", || connections(&broker) == 0);
    broker.stop();
}

#[test]
fn a_paused_connection_is_not_read_until_it_is_resumed_by_the_clock() {
    let (broker, _dir) = start(1, clerks());
    let mut client = Client::connect(broker.address);
    assert_eq!(client.ask("eone\n"), "one\n");
    client.say("p\n");
    std::thread::sleep(Duration::from_millis(20));
    let started = StdInstant::now();
    assert_eq!(client.ask("etwo\n"), "two\n");
    assert!(started.elapsed() > Duration::from_millis(40), "{:?}", started.elapsed());
    broker.stop();
}

#[test]
fn a_connection_moves_with_its_unread_bytes_and_goes_on_there() {
    let (broker, _dir) = start(2, clerks());
    for _ in 0..20 {
        let mut client = Client::connect(broker.address);
        let first = client.ask("w\n");
        client.say("m\nw\neafter\n");
        let second = client.hear();
        assert_ne!(first, second);
        assert_eq!(client.hear(), "after\n");
        assert_eq!(client.ask("elater\n"), "later\n");
        client.say("m\nm\n");
        assert_eq!(client.ask("w\n"), second);
    }
    assert_eq!(broker.gauges.iter().map(|gauges| read(&gauges.moved_in)).sum::<u64>(), 60);
    wait_until("none is left behind", || connections(&broker) == 0);
    broker.stop();
}

#[test]
fn letters_cross_in_order_and_come_back() {
    let (broker, _dir) = start(2, clerks());
    let mut client = Client::connect(broker.address);
    let mut writer = client.socket.try_clone().unwrap();
    let write = std::thread::spawn(move || {
        for n in 0..20_000 {
            writer.write_all(format!("l{n}\n").as_bytes()).unwrap();
        }
    });
    for n in 0..20_000 {
        assert_eq!(client.hear(), format!("{n}\n"));
    }
    write.join().unwrap();
    broker.stop();
}

#[test]
fn a_slow_reader_gets_everything_and_holds_nobody_up() {
    let (broker, _dir) = start(1, clerks());
    let mut slow = Client::connect(broker.address);
    slow.say("b20000000\neend\n");
    let mut quick = Client::connect(broker.address);
    assert_eq!(quick.ask("ehere\n"), "here\n");
    wait_until("the socket is full", || read(&broker.gauges[0].send_waits) > 0);
    let mut all = vec![0; 20_000_000];
    slow.lines.read_exact(&mut all).unwrap();
    assert!(all.iter().all(|byte| *byte == b'x'));
    assert_eq!(slow.hear(), "end\n");
    broker.stop();
}

#[test]
fn the_last_words_arrive_before_the_close_even_with_unread_input() {
    let (broker, _dir) = start(1, clerks());
    for _ in 0..50 {
        let mut client = Client::connect(broker.address);
        client.say("ebye\nc\n");
        // Comes too late to be read: without lingering the kernel would reset the connection and take "bye" with it.
        let _ = client.socket.write_all(&[b'e'; 10_000]);
        assert_eq!(client.hear(), "bye\n");
        let mut rest = String::new();
        assert_eq!(client.lines.read_line(&mut rest).unwrap(), 0);
    }
    wait_until("all are closed", || connections(&broker) == 0);
    broker.stop();
}

#[test]
fn a_close_writes_out_what_was_said_and_does_not_wait_for_ever() {
    let (broker, _dir) = start(1, clerks());
    let mut patient = Client::connect(broker.address);
    patient.say("b5000000\nc\n");
    let mut all = Vec::new();
    patient.lines.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 5_000_000);
    let mut stubborn = Client::connect(broker.address);
    stubborn.say("b50000000\nc\n");
    wait_until("it is given up", || connections(&broker) == 0);
    broker.stop();
}

#[test]
fn a_half_closed_peer_still_gets_what_was_said() {
    let (broker, _dir) = start(1, clerks());
    let mut client = Client::connect(broker.address);
    client.say("b5000000\n");
    client.socket.shutdown(Shutdown::Write).unwrap();
    let mut all = Vec::new();
    client.lines.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 5_000_000);
    wait_until("it is forgotten", || connections(&broker) == 0);
    broker.stop();
}

#[test]
fn questions_from_outside_are_answered_by_every_shard() {
    let (broker, _dir) = start(2, clerks());
    let answers = broker.control.ask_all(&Question::Stats, PATIENCE);
    assert!(answers.iter().all(|answer| matches!(answer, Some(Answer::Done))));
    assert!(broker.control.ask(ShardId(1), Question::Stats, PATIENCE).is_some());
    broker.stop();
}

#[test]
fn a_drain_ends_clean_and_a_halt_with_its_code() {
    let (broker, _dir) = start(2, clerks());
    broker.reports().send(shard::Report::Signal(15)).unwrap();
    assert_eq!(broker.wait(|_| {}), Ok(()));
    let (broker, _dir) = start(2, clerks());
    Client::connect(broker.address).say("h\n");
    let failure = broker.wait(|_| {}).unwrap_err();
    assert_eq!((failure.exit, failure.what.as_str()), (Exit::LogFailed, "as told"));
}

#[test]
fn a_taken_port_and_a_taken_directory_are_refused() {
    let (broker, dir) = start(1, clerks());
    let other = tempfile::tempdir().unwrap();
    let taken = Settings { address: broker.address, ..settings(other.path(), 1) };
    assert_eq!(Prepared::new(taken).unwrap_err().exit, Exit::AddressInUse);
    assert_eq!(Prepared::new(settings(dir.path(), 1)).unwrap_err().exit, Exit::DataDirectory);
    broker.stop();
    assert!(Prepared::new(settings(dir.path(), 1)).is_ok(), "the lock went with the broker");
}

#[test]
fn an_idle_broker_sleeps() {
    let (broker, _dir) = start(2, clerks());
    let _idle: Vec<Client> = (0..50).map(|_| Client::connect(broker.address)).collect();
    std::thread::sleep(Duration::from_millis(200));
    let cpu = |tid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
        fields.get(11).and_then(|t| t.parse::<u64>().ok()).unwrap_or(0)
            + fields.get(12).and_then(|t| t.parse::<u64>().ok()).unwrap_or(0)
    };
    let shards: Vec<i32> = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
            name.starts_with("shard-").then(|| entry.file_name().to_str().unwrap().parse().unwrap())
        })
        .collect();
    let before: Vec<u64> = shards.iter().map(|tid| cpu(*tid)).collect();
    std::thread::sleep(Duration::from_millis(1000));
    // Other tests run executors beside this one; the two idlest are ours or idler than ours.
    let mut used: Vec<u64> = shards.iter().zip(before).map(|(tid, before)| cpu(*tid).saturating_sub(before)).collect();
    used.sort_unstable();
    assert!(used.iter().take(2).all(|ticks| *ticks <= 2), "{used:?} hundredths of a second in one second");
    broker.stop();
}

/// Carries out a list of actions, one batch for each question, and passes on what the device answers.
struct Scribe {
    batches: Arc<Mutex<VecDeque<Vec<LogAction>>>>,
    actions: VecDeque<Action>,
    heard: Sender<LogEvent>,
}

impl Logic for Scribe {
    fn handle(&mut self, _: Instant, event: Event) {
        match event {
            Event::Ask { token, .. } => {
                let batch = self.batches.lock().unwrap().pop_front().unwrap_or_default();
                self.actions.extend(batch.into_iter().map(|action| Action::Log { log: LogId(0), action }));
                self.actions.push_back(Action::Answer { token, answer: Answer::Done });
            }
            Event::Log { event: LogEvent::Space { free }, .. } => assert!(free > 0),
            Event::Log { event, .. } => self.heard.send(event).unwrap(),
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

struct Desk {
    broker: Broker,
    batches: Arc<Mutex<VecDeque<Vec<LogAction>>>>,
    heard: Receiver<LogEvent>,
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Desk {
        let batches = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, heard) = channel();
        let (given, sender) = (batches.clone(), Mutex::new(sender));
        let make: MakeCore = Arc::new(move |_, _, _, _| {
            let heard = sender.lock().unwrap().clone();
            Box::new(Scribe { batches: given.clone(), actions: VecDeque::new(), heard })
        });
        let (broker, dir) = start(1, make);
        Desk { broker, batches, heard, dir }
    }

    /// Gives all actions at once and gathers as many answers.
    fn act(&self, actions: Vec<LogAction>) -> Vec<LogEvent> {
        let count = actions.len();
        self.batches.lock().unwrap().push_back(actions);
        self.broker.control.ask(ShardId(0), Question::Stats, PATIENCE).unwrap();
        (0..count).map(|_| self.heard.recv_timeout(PATIENCE).unwrap()).collect()
    }

    fn read(&self, segment: Lsn, position: u64, len: usize) -> Bytes {
        let purpose = ReadFor::Subscription(9);
        let read = LogAction::Read { ticket: Ticket(7), segment, position, len, purpose };
        match self.act(vec![read]).remove(0) {
            LogEvent::Read { ticket: Ticket(7), purpose: ReadFor::Subscription(9), bytes } => bytes,
            other => panic!("{other:?}"),
        }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("shard-0000").join(name)
    }
}

fn prepare(segment: Lsn, recycle: Option<Lsn>) -> LogAction {
    let header = Bytes::from(format!("segment {}", segment.0).into_bytes()).to_vec();
    let mut block = vec![0; BLOCK];
    block[..header.len()].copy_from_slice(&header);
    LogAction::Prepare { segment, size: SIZE, header: block.into(), recycle }
}

const SIZE: u64 = 3 * 1024 * 1024 + 8192;
const SMALL: u64 = 4 * BLOCK as u64;

fn group(ticket: u64, segment: Lsn, position: u64, bodies: &[&str]) -> LogAction {
    let piece = |body: &&str| GroupPiece {
        header: [body.len() as u8; crate::wal::ENTRY_HEADER],
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    let pieces = bodies.iter().map(piece).collect();
    LogAction::Write { ticket: Ticket(ticket), segment, position, pieces, len: 2 * BLOCK, through: false }
}

fn group_through(ticket: u64, segment: Lsn, position: u64, bodies: &[&str]) -> LogAction {
    match group(ticket, segment, position, bodies) {
        LogAction::Write { ticket, segment, position, pieces, len, .. } => {
            LogAction::Write { ticket, segment, position, pieces, len, through: true }
        }
        other => other,
    }
}

/// How often this process has the file open so that each write is its own sync.
fn handles_that_sync(path: &std::path::Path) -> usize {
    let is_ours = |entry: &std::fs::DirEntry| std::fs::read_link(entry.path()).is_ok_and(|target| target == path);
    let syncs = |entry: &std::fs::DirEntry| {
        let info = format!("/proc/self/fdinfo/{}", entry.file_name().to_string_lossy());
        let said = std::fs::read_to_string(info).unwrap_or_default();
        let flags = said.lines().find_map(|line| line.strip_prefix("flags:"));
        flags.is_some_and(|flags| i32::from_str_radix(flags.trim(), 8).unwrap() & libc::O_DSYNC != 0)
    };
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter(|entry| is_ours(entry) && syncs(entry)).count()
}

#[test]
fn a_segment_is_prepared_written_synced_and_read_back() {
    let desk = Desk::new();
    assert!(matches!(desk.act(vec![prepare(Lsn(0), None)])[..], [LogEvent::Prepared { segment: Lsn(0) }]));
    assert_eq!(std::fs::metadata(desk.file("00000000000000000000.log")).unwrap().len(), SIZE);
    let several = (1..4).map(|n| group(n, Lsn(0), n * 2 * BLOCK as u64, &["hello", "", "worlds!!"])).collect();
    let mut written: Vec<u64> = desk
        .act(several)
        .iter()
        .map(|event| match event {
            LogEvent::Written { ticket } => ticket.0,
            other => panic!("{other:?}"),
        })
        .collect();
    written.sort_unstable();
    assert_eq!(written, [1, 2, 3]);
    let sync = LogAction::Sync { ticket: Ticket(4), segment: Lsn(0) };
    assert!(matches!(desk.act(vec![sync])[..], [LogEvent::Synced { ticket: Ticket(4) }]));
    let read = desk.read(Lsn(0), 4 * BLOCK as u64, 2 * BLOCK);
    assert_eq!(&read[..64], [5; 64]);
    assert_eq!(&read[64..72], b"hello\0\0\0");
    assert_eq!(&read[72..136], [0; 64]);
    assert_eq!(&read[136..200], [8; 64]);
    assert_eq!(&read[200..208], b"worlds!!");
    assert!(read[208..].iter().all(|byte| *byte == 0));
    assert_eq!(&desk.read(Lsn(0), 0, BLOCK)[..9], b"segment 0");
    desk.broker.stop();
}

#[test]
fn an_entry_larger_than_a_group_stands_in_the_log_as_it_would_in_one_write() {
    let desk = Desk::new();
    desk.act(vec![prepare(Lsn(0), None)]);
    let body: Vec<u8> = (0..2 * GROUP_MAX + 12_345).map(|nth| (nth % 251) as u8).collect();
    let pieces = vec![
        GroupPiece { header: [1; crate::wal::ENTRY_HEADER], body: Bytes::from(body.clone()) },
        GroupPiece { header: [2; crate::wal::ENTRY_HEADER], body: Bytes::from_static(b"behind") },
    ];
    let len = (body.len() + 200).next_multiple_of(BLOCK);
    let write =
        LogAction::Write { ticket: Ticket(1), segment: Lsn(0), position: BLOCK as u64, pieces, len, through: false };
    assert!(matches!(desk.act(vec![write])[..], [LogEvent::Written { ticket: Ticket(1) }]));
    let read = desk.read(Lsn(0), BLOCK as u64, len);
    let image = [&[1; 64][..], &body, &[0; 7], &[2; 64], b"behind"].concat();
    assert_eq!(body.len() % 8, 1);
    assert!(read[..image.len()] == image[..] && read[image.len()..].iter().all(|byte| *byte == 0));
    desk.broker.stop();
}

#[test]
fn what_goes_through_is_written_by_a_handle_that_syncs_of_which_there_is_one() {
    let desk = Desk::new();
    let second = Lsn(SIZE);
    let (first_file, second_file) = (desk.file("00000000000000000000.log"), desk.file(&format!("{SIZE:020}.log")));
    desk.act(vec![prepare(Lsn(0), None), prepare(second, None)]);
    assert!(first_file.exists() && second_file.exists());
    desk.act(vec![group(1, Lsn(0), 2 * BLOCK as u64, &["written"])]);
    assert_eq!(handles_that_sync(&first_file), 0);
    let several = (2..4).map(|n| group_through(n, Lsn(0), n * 2 * BLOCK as u64, &["through"])).collect();
    let answers = desk.act(several);
    assert!(answers.iter().all(|event| matches!(event, LogEvent::Written { .. })), "{answers:?}");
    // Nowhere else but past the page cache: a folder for temporary files may have no direct writes.
    let direct = filesystem::check(desk.dir.path(), FsyncPolicy::None).unwrap().mode == filesystem::WriteMode::Direct;
    let direct = usize::from(direct);
    assert!(handles_that_sync(&first_file) >= direct);
    desk.act(vec![group_through(4, second, 2 * BLOCK as u64, &["through"])]);
    desk.act(vec![group_through(5, second, 4 * BLOCK as u64, &["through"])]);
    assert_eq!(handles_that_sync(&second_file), direct);
    for (segment, position) in [(Lsn(0), 4), (Lsn(0), 6), (second, 2), (second, 4)] {
        assert_eq!(&desk.read(segment, position * BLOCK as u64, BLOCK)[64..71], b"through");
    }
    desk.broker.stop();
    assert_eq!(handles_that_sync(&first_file) + handles_that_sync(&second_file), 0);
}

#[test]
fn a_dead_segment_is_used_again_or_removed() {
    let desk = Desk::new();
    let second = Lsn(SIZE);
    desk.act(vec![prepare(Lsn(0), None)]);
    desk.act(vec![group(1, Lsn(0), BLOCK as u64, &["old"])]);
    assert!(matches!(desk.act(vec![prepare(second, Some(Lsn(0)))])[..], [LogEvent::Prepared { .. }]));
    assert!(!desk.file("00000000000000000000.log").exists());
    assert!(desk.read(second, 0, BLOCK).starts_with(format!("segment {SIZE}").as_bytes()));
    assert!(matches!(desk.act(vec![LogAction::Remove { segment: second }])[..], [LogEvent::Removed { .. }]));
    assert_eq!(log_folder::look(&desk.dir.path().join("shard-0000")).unwrap().segments, []);
    desk.broker.stop();
}

#[test]
fn however_many_segments_a_log_has_only_so_many_are_kept_open() {
    let desk = Desk::new();
    let count = 3 * Limits::SEGMENTS_OPEN_MAX as u64;
    let handles = || {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let targets = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        targets.filter(|target| target.starts_with(desk.dir.path()) && target.extension().is_some()).count()
    };
    for nth in 0..count {
        desk.act(vec![LogAction::Prepare {
            segment: Lsn(nth * SMALL),
            size: SMALL,
            header: Bytes::from(vec![nth as u8; BLOCK]),
            recycle: None,
        }]);
        assert!(handles() <= Limits::SEGMENTS_OPEN_MAX, "after {nth} segments");
    }
    // Those that were closed are opened again, and still no more are.
    for nth in (0..count).rev() {
        assert_eq!(desk.read(Lsn(nth * SMALL), 0, BLOCK)[..], vec![nth as u8; BLOCK]);
        assert!(handles() <= Limits::SEGMENTS_OPEN_MAX, "after reading segment {nth}");
    }
    desk.broker.stop();
}

#[test]
fn a_checkpoint_replaces_the_one_before() {
    let desk = Desk::new();
    for (n, text) in ["a longer first one", "second"].into_iter().enumerate() {
        let save = LogAction::SaveCheckpoint { ticket: Ticket(n as u64), bytes: Bytes::from(text) };
        assert!(matches!(desk.act(vec![save])[..], [LogEvent::CheckpointSaved { .. }]));
        assert_eq!(std::fs::read_to_string(desk.file("checkpoint")).unwrap(), text);
    }
    desk.broker.stop();
}

#[test]
fn after_a_write_that_failed_nothing_is_written_or_synced_any_more() {
    let desk = Desk::new();
    desk.act(vec![prepare(Lsn(0), None)]);
    desk.act(vec![group(1, Lsn(0), BLOCK as u64, &["kept"])]);
    let beyond = group(2, Lsn(0), u64::MAX / 2 / BLOCK as u64 * BLOCK as u64, &["nowhere"]);
    assert!(matches!(&desk.act(vec![beyond])[..], [LogEvent::Failed(failure)] if failure.operation == "write"));
    let sync = LogAction::Sync { ticket: Ticket(3), segment: Lsn(0) };
    for later in
        [group(4, Lsn(0), 4 * BLOCK as u64, &["late"]), group_through(5, Lsn(0), 4 * BLOCK as u64, &["late"]), sync]
    {
        let said = desk.act(vec![later]).remove(0);
        assert!(matches!(&said, LogEvent::Failed(failure) if failure.reason.contains("failed before")), "{said:?}");
    }
    assert_eq!(&desk.read(Lsn(0), BLOCK as u64, BLOCK)[64..68], b"kept", "reading goes on");
    desk.broker.stop();
}

#[test]
fn what_the_device_refuses_is_told_in_its_own_words() {
    let desk = Desk::new();
    let failed = desk.act(vec![group(1, Lsn(777 * 4096), 0, &["nowhere"])]).remove(0);
    let LogEvent::Failed(failure) = failed else { panic!("{failed:?}") };
    assert_eq!((failure.operation, failure.segment, failure.full), ("write", Some(Lsn(777 * 4096)), false));
    assert!(failure.reason.contains("No such file"), "{}", failure.reason);
    desk.act(vec![prepare(Lsn(0), None)]);
    let purpose = ReadFor::Cleaning;
    let beyond = LogAction::Read { ticket: Ticket(1), segment: Lsn(0), position: SIZE, len: BLOCK, purpose };
    // The log knows what it means that a file was cut.
    assert!(matches!(desk.act(vec![beyond]).remove(0), LogEvent::Read { bytes, .. } if bytes.is_empty()));
    desk.broker.stop();
}
