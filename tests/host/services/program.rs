//! The program that runs as a service: this test binary itself, told by a variable to be a small web server.
#![allow(
    clippy::print_stdout,
    reason = "what it prints is the output of a service"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use crate::common::eventually;

/// Arguments that make this binary run [`serve`].
pub const ARGS: [&str; 4] = [
    "--exact",
    "services::program::serve",
    "--nocapture",
    "--quiet",
];

/// Serves if it was started as a service; as a test it has nothing to do.
#[test]
fn serve() {
    if std::env::var_os("TEST_SERVICE").is_none() {
        return;
    }
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let port: u16 = variable("PORT").parse().unwrap();
    println!("{} says hello", variable("TEST_SERVICE"));
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || while exchange(&stream).is_some() {});
    }
}

fn exchange(mut stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut header = String::new();
    while reader.read_line(&mut header).ok()? > 2 {
        header.clear();
    }
    let path = line.split(' ').nth(1)?;
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let (status, text) = match path {
        "/health" => match std::env::var("TEST_HEALTHY_FILE") {
            Ok(file) if !std::path::Path::new(&file).exists() => (503, "warming up".to_owned()),
            _ => (200, "well".to_owned()),
        },
        "/env" => (200, std::env::var(query).unwrap_or_else(|_| "-".into())),
        "/cwd" => {
            let dir = std::env::current_dir().unwrap();
            (200, dir.display().to_string())
        }
        "/stdin" => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text).unwrap();
            (200, format!("{read}"))
        }
        "/say" => {
            println!("{query}");
            (200, String::new())
        }
        // Answers once the file is there.
        "/when" => {
            eventually(Duration::from_secs(60), || {
                std::path::Path::new(query).exists()
            });
            (200, "done".to_owned())
        }
        _ => (404, String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(text.as_bytes()).ok()
}
