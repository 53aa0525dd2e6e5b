//! TLS on the broker's port: what travels, who is let in, and what is said to those who are not.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use blipmq::client::blocking::{Client, Tls};
use blipmq::client::{ClientError, PublishOptions, SubscribeOptions};
use blipmq::model::Qos;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use crate::support::broker::KEY;
use crate::support::{Broker, Certificates, PATIENCE, eventually, topic_on};

/// A broker with a certificate of `certificates`.
fn broker(certificates: &Certificates, keys: &str) -> Broker {
    Broker::in_memory(&format!("{}{keys}", certificates.keys()))
}

#[track_caller]
fn client(broker: &Broker, version: u8, tls: Tls) -> Client {
    Client::connect(&broker.options().version(version).tls(tls)).expect("the broker takes connections")
}

/// No connection comes about; gives why.
#[track_caller]
fn refused(broker: &Broker, tls: Tls) -> String {
    match Client::connect(&broker.options().tls(tls)) {
        Err(ClientError::Tls(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn failures(reason: &str) -> String {
    format!("blipmq_tls_failures_total{{reason=\"{reason}\"}}")
}

#[test]
fn messages_of_every_size_travel_through_it_in_both_versions() {
    let certificates = Certificates::new();
    let broker = Broker::new(&certificates.keys());
    let (one, two) = (client(&broker, 1, certificates.trusting()), client(&broker, 2, certificates.trusting()));
    let mut polled = one.subscribe_polled("t", Qos::AtLeastOnce).unwrap();
    let mut pushed = two.subscribe(&SubscribeOptions::new("t").at_least_once()).unwrap();
    for size in [0, 1, 100, 16_000, 17_000, 65_536, 200_000] {
        let value: Vec<u8> = (0..size).map(|nth: usize| (nth * 31) as u8).collect();
        let publisher = if size % 2 == 0 { &one } else { &two };
        publisher.publish("t", &value, &PublishOptions::at_least_once()).unwrap();
        let message = polled.next_message(Some(PATIENCE)).unwrap().expect("a message comes");
        assert!(message.value == value, "{size} bytes");
        polled.ack(&message).unwrap();
        let message = pushed.next_message(Some(PATIENCE)).unwrap().expect("a message comes");
        assert!(message.value == value, "{size} bytes");
    }
    assert!(broker.metric("blipmq_tls_handshakes_total") >= 2.0);
}

#[test]
fn a_connection_moves_to_the_core_of_its_topic_with_its_encryption() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, "cores = 2");
    for nth in 0..16u8 {
        let topic = topic_on(u16::from(nth) % 2, 2, "t");
        let client = client(&broker, 2, certificates.trusting());
        let mut subscription = client.subscribe(&SubscribeOptions::new(&topic)).unwrap();
        for size in [1, 50_000] {
            client.publish(&topic, &vec![nth; size], &PublishOptions::default()).unwrap();
            let message = subscription.next_message(Some(PATIENCE)).unwrap().expect("a message comes");
            assert!(message.value == vec![nth; size], "{nth}: {size} bytes");
        }
    }
}

#[test]
fn a_subscriber_that_reads_late_gets_everything_and_the_broker_holds_little() {
    const COUNT: usize = 400;
    let certificates = Certificates::new();
    let broker = Broker::new(&format!("{}max_outbox_bytes = \"64 KiB\"", certificates.keys()));
    let (publisher, subscriber) =
        (client(&broker, 2, certificates.trusting()), client(&broker, 2, certificates.trusting()));
    let mut subscription = subscriber.subscribe(&SubscribeOptions::new("t").at_least_once()).unwrap();
    let value = |nth: usize| vec![nth as u8; 50_000];
    for nth in 0..COUNT {
        publisher.publish("t", &value(nth), &PublishOptions::at_least_once()).unwrap();
    }
    for nth in 0..COUNT {
        let message = subscription.next_message(Some(PATIENCE)).unwrap().expect("a message comes");
        assert!(message.value == value(nth), "message {nth}");
    }
}

#[test]
fn the_command_line_speaks_it() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, "");
    let ca = certificates.ca();
    let run = |words: &[&str]| broker.command(&[words, &["--tls-ca", ca.to_str().unwrap()]].concat(), "");
    assert_eq!(run(&["sub", "t", "--name", "d", "--timeout", "1ms"]).status.code(), Some(0));
    assert_eq!(run(&["pub", "t", "hello"]).status.code(), Some(0));
    assert_eq!(said(&run(&["sub", "t", "--name", "d", "--count", "1"])), "hello\n");
    assert_eq!(run(&["ping"]).status.code(), Some(0));
    let other = Certificates::new();
    let wrong = broker.command(&["ping", "--tls", "--tls-ca", other.ca().to_str().unwrap()], "");
    assert_eq!(wrong.status.code(), Some(3), "{wrong:?}");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("certificate"), "{wrong:?}");
    let missing = broker.command(&["ping", "--tls-ca", "nowhere.pem"], "");
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn openssl_shakes_hands_with_it() {
    if Command::new("openssl").arg("version").output().is_err() {
        return eprintln!("skipped: there is no openssl here");
    }
    let certificates = Certificates::new();
    let broker = broker(&certificates, "");
    for version in ["-tls1_2", "-tls1_3"] {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-brief", "-verify_return_error", version, "-CAfile"]).arg(certificates.ca());
        command.args(["-connect", &broker.address.to_string()]).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = format!("{}{}", said(&output), String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("Verification: OK"), "{version}: {text}");
    }
}

#[test]
fn a_client_that_speaks_plain_is_told_so_in_plain() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, "");
    for version in [1, 2] {
        match Client::connect(&broker.options().version(version)) {
            Err(ClientError::Refused { code: 400, text }) => assert_eq!(text, "this port speaks TLS"),
            other => panic!("{other:?}"),
        }
    }
    let mut wire = broker.wire();
    wire.say_bytes(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(wire.nack().1, 400);
    wire.expect_end();
    broker.until_metric(&failures("plain"), |count| count >= 3.0);
    eventually("it is logged", || broker.log().contains("TLS failed (plain)").then_some(()));
    client(&broker, 2, certificates.trusting()).ping().unwrap();
}

#[test]
fn a_client_that_speaks_tls_to_a_plain_port_is_closed_and_knows_why() {
    let broker = Broker::in_memory("");
    let text = refused(&broker, Certificates::new().trusting());
    assert!(text.contains("does not speak TLS"), "{text}");
    let mut wire = broker.wire();
    for byte in &client_hello_of_tls_1_1()[..20] {
        wire.try_say_bytes(&[*byte]);
    }
    wire.expect_end();
    broker.until_metric("blipmq_refused_total{reason=\"tls_on_plain_port\"}", |count| count >= 2.0);
    assert!(broker.log().contains("it speaks TLS, and this port does not"), "{}", broker.log());
}

/// A ClientHello of TLS 1.1 with one cipher suite and nothing else.
fn client_hello_of_tls_1_1() -> Vec<u8> {
    let body = [&[0x03, 0x02][..], &[7; 32], &[0, 0, 2, 0x00, 0x2f, 1, 0]].concat();
    let length = body.len() as u8;
    [&[0x16, 0x03, 0x02, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

#[test]
fn tls_1_1_is_refused_with_an_alert() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, "");
    let mut wire = broker.wire();
    wire.say_bytes(&client_hello_of_tls_1_1());
    // alert, TLS 1.2, two bytes: fatal, handshake_failure
    wire.expect_hex("15 03 03 00 02 02 28");
    wire.expect_end();
    broker.until_metric(&failures("version"), |count| count >= 1.0);
}

#[test]
fn the_oldest_version_that_is_spoken_can_be_raised() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, "tls_min_version = \"1.3\"");
    let config = |versions: &[&'static SupportedProtocolVersion]| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificates.ca()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    };
    let shake = |config| {
        let mut session = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
        let mut socket = TcpStream::connect(broker.address).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok::<_, std::io::Error>(())
    };
    shake(config(&[&rustls::version::TLS13])).unwrap();
    shake(config(&[&rustls::version::TLS12])).unwrap_err();
    broker.until_metric(&failures("version"), |count| count >= 1.0);
}

#[test]
fn a_certificate_of_an_authority_that_the_client_does_not_know_is_refused_by_the_client() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, "");
    let text = refused(&broker, Certificates::new().trusting());
    assert!(text.contains("certificate"), "{text}");
    broker.until_metric(&failures("by_peer"), |count| count >= 1.0);
    let text = refused(&broker, certificates.trusting().server_name("another.name"));
    assert!(text.contains("another.name"), "{text}");
}

#[test]
fn clients_without_a_certificate_of_the_right_authority_are_refused_where_one_is_asked_for() {
    let (certificates, clients, strangers) = (Certificates::new(), Certificates::new(), Certificates::new());
    let broker = broker(&certificates, &format!("tls_client_ca = {:?}", clients.ca()));
    client(&broker, 2, certificates.trusting_as(&clients, "app")).ping().unwrap();
    let text = refused(&broker, certificates.trusting());
    assert!(text.contains("CertificateRequired"), "{text}");
    broker.until_metric(&failures("no_certificate"), |count| count >= 1.0);
    refused(&broker, certificates.trusting_as(&strangers, "app"));
    broker.until_metric(&failures("bad_certificate"), |count| count >= 1.0);
    // The certificate lets a client as far as asking; who it is, its key says.
    let options = broker.options().tls(certificates.trusting_as(&clients, "app")).api_key("wrong");
    assert!(matches!(Client::connect(&options), Err(ClientError::Refused { code: 401, .. })));
}

#[test]
fn a_handshake_that_is_never_finished_ends_by_the_deadline() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, "handshake_timeout_ms = 1500");
    let mut silent = broker.wire();
    let mut slow = broker.wire();
    slow.say_bytes(&client_hello_of_tls_1_1()[..20]);
    silent.until_end();
    slow.until_end();
    broker.until_metric("blipmq_handshake_failures_total{reason=\"handshake_timeout\"}", |count| count >= 2.0);
    // Who is through with TLS and does not say who it is ends by the same deadline, and hears why.
    let mut session = session(&certificates);
    let mut socket = TcpStream::connect(broker.address).unwrap();
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    assert!(String::from_utf8_lossy(&said).contains("handshake took too long"), "{said:?}");
}

fn session(certificates: &Certificates) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificates.ca()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap()
}

#[test]
fn the_end_is_said_inside_the_encryption() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, "");
    let mut session = session(&certificates);
    let mut socket = TcpStream::connect(broker.address).unwrap();
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    stream.flush().unwrap();
    stream.write_all(&[0, 0, 0, 9]).unwrap();
    broker.stop();
    let mut rest = Vec::new();
    // Without the word, rustls takes an end for a cut.
    let end = stream.read_to_end(&mut rest);
    assert!(end.is_ok(), "{:?}", end.map_err(|error| error.kind() == ErrorKind::UnexpectedEof));
}

#[test]
fn a_peer_that_ends_inside_the_encryption_still_gets_its_answers() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, "");
    let mut session = session(&certificates);
    let mut socket = TcpStream::connect(broker.address).unwrap();
    let mut said = bytes::BytesMut::new();
    blipmq::protocol::native::command::hello(&mut said, 1, 1);
    blipmq::protocol::native::command::auth(&mut said, 2, KEY);
    rustls::Stream::new(&mut session, &mut socket).write_all(&said).unwrap();
    session.send_close_notify();
    while session.wants_write() {
        session.write_tls(&mut socket).unwrap();
    }
    let mut answers = Vec::new();
    rustls::Stream::new(&mut session, &mut socket).read_to_end(&mut answers).unwrap();
    assert_eq!(answers.iter().filter(|byte| **byte == 0x05).count(), 2, "{answers:?}");
    eventually("the connection is over", || (broker.metric("blipmq_connections{state=\"open\"}") == 0.0).then_some(()));
}

#[test]
fn rubbish_after_the_handshake_ends_the_connection_and_nothing_else() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, "");
    let other = client(&broker, 2, certificates.trusting());
    let mut session = session(&certificates);
    let mut socket = TcpStream::connect(broker.address).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut socket).unwrap();
    }
    socket.write_all(&[0x17, 0x03, 0x03, 0x00, 0x20]).unwrap();
    socket.write_all(&[7; 0x20]).unwrap();
    broker.until_metric(&failures("protocol"), |count| count >= 1.0);
    other.ping().unwrap();
}

#[test]
fn files_that_will_not_do_are_exit_code_2_and_a_check_of_the_configuration_finds_them() {
    let workspace = crate::support::Workspace::new();
    let certificates = Certificates::new();
    let (cert, _) = certificates.issue("broker");
    let (_, other) = certificates.issue("other");
    let keys = format!("wal = \"off\"\ntls_cert = {cert:?}\ntls_key = {other:?}");
    let Err(ended) = workspace.try_start(&keys) else { panic!("it started") };
    assert!(ended.code == Some(2) && ended.stderr.contains("tls_key"), "{ended:?}");
    let output = workspace.daemon().args(["--validate-config", "--config", "blipmq.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_wide_address_without_encryption_is_warned_of_and_with_it_is_not() {
    let warned = |broker: &Broker| broker.log().contains("travel in plain text");
    assert!(warned(&Broker::in_memory("bind_addr = \"0.0.0.0\"")));
    let certificates = Certificates::new();
    assert!(!warned(&broker(&certificates, "bind_addr = \"0.0.0.0\"")));
}

#[test]
fn a_certificate_that_ends_soon_is_warned_of_and_one_that_has_ended_too() {
    let days = |days: u64| {
        let certificates = Certificates::new();
        let (cert, key) = certificates.issue_until("broker", days);
        Broker::in_memory(&format!("tls_cert = {cert:?}\ntls_key = {key:?}\n"))
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 86_400;
    assert!(days(now + 3).log().contains("tls_cert expires in"));
    assert!(days(now - 3).log().contains("tls_cert has expired"));
    assert!(!days(now + 300).log().contains("tls_cert"));
}

#[test]
fn the_load_generator_speaks_it() {
    let certificates = Certificates::new();
    let broker = broker(&certificates, "");
    let (ca, address) = (certificates.ca(), broker.address.to_string());
    let mut words = vec!["bench", "qos0", "--addr", &address, "--tls-ca", ca.to_str().unwrap()];
    words.extend(["--count", "5k", "--warmup", "0s", "--no-pin"]);
    let output = broker.command(&words, "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(said(&output).contains("lost 0"), "{output:?}");
}
