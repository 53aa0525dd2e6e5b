//! The daemon as a child process, on a port of its own and in a directory of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use blipmq::client::blocking::{Client, ConnectOptions};
use blipmq::protocol::native::request::What;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, Wire, eventually};

/// The key of every broker in these stories: that of the fixtures.
pub const KEY: &str = "secret";

const DAEMON: &str = env!("CARGO_BIN_EXE_blipmqd");
const COMMAND_LINE: &str = env!("CARGO_BIN_EXE_blipmq");

/// A directory that several brokers, one after another, may run in.
pub struct Workspace {
    dir: TempDir,
}

/// A broker that did not start, or has ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stderr: String,
}

/// A running broker. Killed when it goes out of scope.
pub struct Broker {
    child: Child,
    pub address: SocketAddr,
    pub lines: Vec<String>,
    stderr: PathBuf,
    workspace: Option<Workspace>,
    _stdout: BufReader<ChildStdout>,
}

impl Workspace {
    pub fn new() -> Workspace {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("the target directory takes directories");
        Workspace { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where brokers of this workspace keep their logs.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// A daemon with nothing of the environment but what `configure` gives it.
    pub fn daemon(&self) -> Command {
        let mut command = Command::new(DAEMON);
        command.env_clear().env("RUST_LOG", "info").current_dir(self.path()).stdin(Stdio::null());
        command
    }

    /// Starts a broker whose configuration is the stories' own and `keys`, lines of TOML.
    #[track_caller]
    pub fn start(&self, keys: &str) -> Broker {
        self.try_start(keys).unwrap_or_else(|ended| panic!("the broker did not start: {ended:?}"))
    }

    pub fn try_start(&self, keys: &str) -> Result<Broker, Ended> {
        self.spawn(self.configured(keys))
    }

    /// A daemon with the stories' own configuration and `keys`, lines of TOML.
    pub fn configured(&self, keys: &str) -> Command {
        let file = self.configure(keys);
        let mut command = self.daemon();
        command.arg("--config").arg(&file);
        command
    }

    /// Writes the configuration file: what a reload reads.
    pub fn configure(&self, keys: &str) -> PathBuf {
        let file = self.path().join("blipmq.toml");
        fs::write(&file, configuration(&self.data(), keys)).expect("the workspace takes files");
        file
    }

    /// Writes a file for the configuration to name.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.path().join(name);
        fs::write(&file, text).expect("the workspace takes files");
        file
    }

    /// Runs a daemon until it says where it listens, or ends.
    #[allow(clippy::zombie_processes)] // a broker waits for its process when it is dropped
    pub fn spawn(&self, mut command: Command) -> Result<Broker, Ended> {
        static NTH: AtomicUsize = AtomicUsize::new(0);
        let stderr = self.path().join(format!("stderr-{}", NTH.fetch_add(1, Ordering::Relaxed)));
        let log = File::create(&stderr).expect("the workspace takes files");
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("the daemon can be run");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (mut lines, mut address) = (Vec::new(), None);
        loop {
            let mut line = String::new();
            if stdout.read_line(&mut line).expect("what the daemon says is text") == 0 {
                return Err(ended(&mut child, &stderr));
            }
            let line = line.trim_end().to_owned();
            address = address.or_else(|| line.strip_prefix("listening on ")?.parse().ok());
            let last = line.starts_with("next ");
            lines.push(line);
            if let (true, Some(address)) = (last, address) {
                return Ok(Broker { child, address, lines, stderr, workspace: None, _stdout: stdout });
            }
        }
    }
}

/// Segments are small: by default a log would write tens of megabytes of zeroes for each story. Nothing is delivered
/// again by itself, however slow the machine, unless a story says when.
fn configuration(data: &Path, keys: &str) -> String {
    let in_memory = keys.contains("wal = \"off\"");
    let small_log: &[(&str, String)] =
        &[("segment_bytes", "\"1 MiB\"".into()), ("max_frame_bytes", "\"256 KiB\"".into())];
    let defaults = [
        ("port", "0".into()),
        ("metrics_port", "0".into()),
        ("wal_path", format!("{data:?}")),
        ("allowed_api_keys", format!("[{KEY:?}]")),
        ("max_connections", "500".into()),
        ("cores", "1".into()),
        ("retry_backoff_ms", "600000".into()),
        ("retry_backoff_cap_ms", "600000".into()),
        ("shutdown_timeout_ms", "500".into()),
    ];
    let said = |name: &str| keys.lines().any(|line| line.split('=').next().is_some_and(|key| key.trim() == name));
    let defaults = defaults.iter().chain(if in_memory { &[] } else { small_log });
    let lines = defaults.filter(|(name, _)| !said(name)).map(|(name, value)| format!("{name} = {value}\n"));
    lines.collect::<String>() + keys + "\n"
}

fn ended(child: &mut Child, stderr: &Path) -> Ended {
    let status = child.wait().expect("our own child");
    Ended { code: status.code(), stderr: fs::read_to_string(stderr).unwrap_or_default() }
}

impl Broker {
    /// A broker without a log, in a directory that goes with it.
    #[track_caller]
    pub fn in_memory(keys: &str) -> Broker {
        Broker::new(&format!("wal = \"off\"\n{keys}"))
    }

    /// A broker without a log, and one with: what a client sees is the same.
    #[track_caller]
    pub fn both(keys: &str) -> [Broker; 2] {
        [Broker::in_memory(keys), Broker::new(keys)]
    }

    /// A broker in a directory that goes with it.
    #[track_caller]
    pub fn new(keys: &str) -> Broker {
        let workspace = Workspace::new();
        let mut broker = workspace.start(keys);
        broker.workspace = Some(workspace);
        broker
    }

    /// A socket, and nothing said yet.
    pub fn wire(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// A socket with the handshake of `version` done.
    #[track_caller]
    pub fn open(&self, version: u16) -> Wire {
        let mut wire = self.wire();
        wire.shake_hands(version, KEY);
        wire
    }

    pub fn options(&self) -> ConnectOptions {
        ConnectOptions::new(&self.address.to_string()).api_key(KEY).answer_timeout(PATIENCE).connect_timeout(PATIENCE)
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(&self.options()).expect("the broker takes connections")
    }

    #[track_caller]
    pub fn client_v1(&self) -> Client {
        Client::connect(&self.options().version(1)).expect("the broker takes connections")
    }

    /// The rows that the broker answers to a query.
    #[track_caller]
    pub fn rows(&self, what: What) -> Vec<Value> {
        let client = self.client();
        let text = client.query(what, 10_000).expect("queries are answered");
        serde_json::from_str(&text).expect("the answer is a JSON array")
    }

    /// The subscriptions to a topic.
    #[track_caller]
    pub fn subscriptions(&self, topic: &str) -> Vec<Value> {
        self.rows(What::Subscriptions).into_iter().filter(|row| row["topic"] == topic).collect()
    }

    /// The one subscription to a topic.
    #[track_caller]
    pub fn subscription(&self, topic: &str) -> Value {
        let rows = self.subscriptions(topic);
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.into_iter().next().expect("just counted")
    }

    #[track_caller]
    pub fn topic(&self, topic: &str) -> Value {
        let found = self.rows(What::Topics).into_iter().find(|row| row["topic"] == topic);
        found.unwrap_or_else(|| panic!("there is no topic {topic}"))
    }

    /// Waits until a number in the one row of a topic's subscription is what is wanted.
    #[track_caller]
    pub fn until_subscription(&self, topic: &str, field: &str, wanted: u64) {
        eventually(&format!("{field} of the subscription to {topic} is {wanted}"), || {
            let rows = self.subscriptions(topic);
            (rows.len() == 1 && rows[0][field] == wanted).then_some(())
        });
    }

    /// Waits until a number in a topic's row is what is wanted.
    #[track_caller]
    pub fn until_topic(&self, topic: &str, field: &str, wanted: u64) {
        eventually(&format!("{field} of {topic} is {wanted}"), || (self.topic(topic)[field] == wanted).then_some(()));
    }

    /// Waits until all that the log holds of a topic is committed: after a kill its tail is synced anew, and until then
    /// counts as neither lost nor there.
    #[track_caller]
    pub fn until_committed(&self, topic: &str) {
        eventually(&format!("what the log holds of {topic} is committed"), || {
            let row = self.topic(topic);
            (row["committed"] == row["next"]).then_some(())
        });
    }

    /// `blipmq` with these words, its standard input `input`.
    pub fn command(&self, words: &[&str], input: &str) -> Output {
        use std::io::Write;
        let mut child = self.command_spawned(words);
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input.as_bytes()).expect("the command reads its input");
        drop(stdin);
        child.wait_with_output().expect("our own child")
    }

    /// `blipmq` with these words, running.
    pub fn command_spawned(&self, words: &[&str]) -> Child {
        let mut command = Command::new(COMMAND_LINE);
        let address = self.address.to_string();
        command.env_clear().env("BLIPMQ_API_KEY", KEY).env("BLIPMQ_ADDR", address).args(words);
        command.env("BLIPMQ_ADMIN_ADDR", self.metrics_address());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the command can be run")
    }

    /// Files and sockets that the process has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the broker runs").count()
    }

    /// Memory of the process, as the kernel counts it.
    pub fn resident_bytes(&self) -> usize {
        let file = format!("/proc/{}/statm", self.child.id());
        let text = fs::read_to_string(file).expect("the broker runs");
        let pages: usize = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
        pages * 4096
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("our own child");
    }

    /// Asks it to stop. It has begun to when this returns.
    #[track_caller]
    pub fn drain(&self, signal: Signal) {
        let mut quiet = self.open(2);
        self.signal(signal);
        assert_eq!(quiet.frame().kind, 0x1C, "the drain has begun");
    }

    /// Waits for the end.
    pub fn ended(&mut self) -> Ended {
        ended(&mut self.child, &self.stderr)
    }

    /// SIGKILL, and gone.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.ended().code, None, "killed, not ended");
    }

    /// SIGINT, and gone.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal(Signal::SIGINT);
        let ended = self.ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }
}

impl Broker {
    /// What is known of a broker in whose story something went wrong.
    fn tell(&self) {
        eprintln!("---- the broker at {} wrote:\n{}", self.address, self.log());
        let options = self.options().connect_timeout(Duration::from_secs(1)).answer_timeout(Duration::from_secs(1));
        let Ok(client) = Client::connect(&options) else { return };
        for what in [What::Topics, What::Subscriptions] {
            eprintln!("{}", client.query(what, 20).unwrap_or_else(|error| error.to_string()));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
