//! The manual's page of errors against the code that makes them.

use std::process::Command;

use blipmq::model::TlsFailure;
use blipmq::protocol::ErrorCode;
use blipmq::runtime::Exit;

const PAGE: &str = include_str!("../../src/manual/errors.md");

/// The first cells of the rows under a heading.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading)).expect("the page has the section");
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|row| row.split('|').map(str::trim).skip(1).take(2).collect()).collect()
}

#[test]
fn every_code_on_the_wire_is_explained_for_both_versions() {
    let wanted: Vec<Vec<String>> = ErrorCode::ALL
        .iter()
        .map(|code| vec![code.as_u16().to_string(), code.in_version_1().as_u16().to_string()])
        .collect();
    assert_eq!(rows("Codes on the wire"), wanted);
}

#[test]
fn every_reason_of_tls_is_explained() {
    let page: Vec<&str> = rows("When TLS").into_iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(page, TlsFailure::ALL.map(TlsFailure::name));
}

#[test]
fn every_exit_code_of_the_daemon_is_explained() {
    let page: Vec<&str> = rows("Exit codes of blipmqd").into_iter().map(|row| row[0]).collect();
    assert_eq!(page, Exit::ALL.map(|exit| (exit as i32).to_string()));
}

#[test]
fn every_exit_code_of_the_command_line_is_explained() {
    let help = Command::new(env!("CARGO_BIN_EXE_blipmq")).arg("--help").output().expect("it can be run");
    let help = String::from_utf8(help.stdout).expect("text");
    let codes = help.split("Exit codes:").nth(1).expect("the help has them");
    let codes: Vec<&str> = codes.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let page: Vec<&str> = rows("Exit codes of blipmq\n").into_iter().map(|row| row[0]).collect();
    assert_eq!(page, codes);
}
