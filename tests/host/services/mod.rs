//! Services on a host: the real daemon and real processes, wanted by a coordinator that does as the test says.

mod away;
mod ending;
mod program;
mod real;
mod running;
mod script;

use std::net::{Ipv4Addr, SocketAddr};

use crate::common::http::call;

/// Asks a service and returns its answer.
#[track_caller]
fn get(port: u16, path: &str) -> String {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let reply = call(to, "GET", path, &serde_json::Value::Null).expect(200);
    String::from_utf8(reply.body).unwrap()
}

/// Tells whether somebody could listen on the port.
fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}
