//! Shows what a service prints: the bytes of one replica as they are, of several line by line under their names.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::names::HostNames;
use crate::cli::output::{Format, Output};
use crate::cli::sanitize::{Filter, one_line};
use crate::cli::summary::insert_bytes;
use crate::client::Client;
use crate::protocol::api::{ServiceLogPiece, ServiceRecord};

/// A line that is longer is shown in parts.
const LONGEST_LINE: usize = 64 << 10;

/// Where a service's output goes.
pub struct Screen<'o> {
    output: &'o Output,
    hosts: HostNames,
    /// Lines bear the name of their replica.
    several: bool,
    raw: bool,
    replicas: BTreeMap<String, Replica>,
    /// The output of a replica could not be had.
    failed: bool,
}

#[derive(Default)]
struct Replica {
    name: String,
    filter: Filter,
    /// The line that is not complete yet.
    line: Vec<u8>,
}

impl<'o> Screen<'o> {
    /// Shows several replicas, or one.
    pub fn new(output: &'o Output, hosts: HostNames, several: bool, raw: bool) -> Self {
        Self {
            output,
            hosts,
            several,
            raw,
            replicas: BTreeMap::new(),
            failed: false,
        }
    }

    /// Tells whether everything that was asked for was had.
    pub fn is_whole(&self) -> bool {
        !self.failed
    }

    /// Tells whether nobody reads any more.
    pub fn is_closed(&self) -> bool {
        self.output.is_closed()
    }

    /// Asks for the names of hosts that are new.
    pub async fn learn(&mut self, client: &Client, service: &ServiceRecord) {
        self.hosts
            .learn(client, std::slice::from_ref(service))
            .await;
    }

    /// Shows a piece.
    pub fn piece(&mut self, service: &ServiceRecord, piece: &ServiceLogPiece) {
        self.event(piece);
        let id = &piece.assignment_id;
        if !self.replicas.contains_key(id) {
            let name = self.name(service, piece);
            if !self.several && !self.replicas.is_empty() {
                self.output
                    .note(&format!("from here on also what comes from {name}"));
                self.several = true;
            }
            let replica = Replica {
                name,
                ..Replica::default()
            };
            self.replicas.insert(id.clone(), replica);
        }
        match piece.data.as_deref().map(|data| BASE64.decode(data)) {
            Some(Ok(bytes)) => self.write(id, &bytes),
            Some(Err(_)) => tracing::warn!("a piece of output that is not base64"),
            None => self.end(id, piece.error.as_deref()),
        }
    }

    /// Ends what is held back.
    pub fn finish(&mut self) {
        let ids: Vec<String> = self.replicas.keys().cloned().collect();
        for id in ids {
            self.end(&id, None);
        }
    }

    fn name(&self, service: &ServiceRecord, piece: &ServiceLogPiece) -> String {
        let known = service.assignments.iter();
        let one = known
            .into_iter()
            .find(|one| one.id == piece.assignment_id && one.host_id == piece.host_id);
        let name = match one {
            Some(one) => self.hosts.replica(service, one),
            None => self.hosts.of(&piece.host_id).to_owned(),
        };
        one_line(&name).into_owned()
    }

    fn end(&mut self, id: &str, error: Option<&str>) {
        let Some(replica) = self.replicas.get_mut(id) else {
            return;
        };
        let mut rest = Vec::new();
        std::mem::take(&mut replica.filter).finish(&mut rest);
        replica.line.extend(rest);
        let line = std::mem::take(&mut replica.line);
        let name = replica.name.clone();
        if !line.is_empty() {
            match self.several {
                true => self.put_line(&name, &line),
                false => self.output.bytes(&line),
            }
        }
        if let Some(error) = error {
            self.failed = true;
            self.output.note(&format!("{name}: {}", one_line(error)));
        }
    }

    fn write(&mut self, id: &str, bytes: &[u8]) {
        if self.output.format() != Format::Human {
            return;
        }
        let filtered = self.output.streams().out_width.is_some() && !self.raw;
        let Some(replica) = self.replicas.get_mut(id) else {
            return;
        };
        match filtered {
            true => replica.filter.push(bytes, &mut replica.line),
            false => replica.line.extend_from_slice(bytes),
        }
        if !self.several {
            let shown = std::mem::take(&mut replica.line);
            return self.output.bytes(&shown);
        }
        let mut lines = Vec::new();
        while let Some(end) = replica.line.iter().position(|byte| *byte == b'\n') {
            let rest = replica.line.split_off(end + 1);
            lines.push(std::mem::replace(&mut replica.line, rest));
        }
        if replica.line.len() > LONGEST_LINE {
            lines.push(std::mem::take(&mut replica.line));
        }
        let name = replica.name.clone();
        for line in lines {
            self.put_line(&name, &line);
        }
    }

    fn put_line(&self, name: &str, line: &[u8]) {
        let mut whole = format!("{name} | ").into_bytes();
        whole.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            whole.push(b'\n');
        }
        self.output.bytes(&whole);
    }

    fn event(&self, piece: &ServiceLogPiece) {
        let mut body = json!({ "assignment": piece.assignment_id, "host": piece.host_id });
        let bytes = piece.data.as_ref().map(|data| BASE64.decode(data));
        let name = match (bytes, body.as_object_mut()) {
            (Some(Ok(bytes)), Some(map)) => {
                insert_bytes(map, "data", &bytes);
                "chunk"
            }
            (Some(Err(_)), _) => return,
            (_, map) => {
                if let (Some(map), Some(error)) = (map, &piece.error) {
                    map.insert("error".to_owned(), json!(error));
                }
                "end"
            }
        };
        if let Err(error) = self.output.event(name, &body) {
            tracing::error!(%error, "cannot print event");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::placed;
    use super::*;
    use crate::cli::output::{Captured, Streams};
    use crate::protocol::api::Phase;

    fn shown(several: bool, width: Option<u16>, pieces: &[(usize, Option<&[u8]>)]) -> String {
        let (out, err) = (Captured::default(), Captured::default());
        let streams = Streams {
            out_width: width,
            err_terminal: false,
            out_colour: false,
            err_colour: false,
            quiet: false,
        };
        let (to, notes) = (Box::new(out.clone()), Box::new(err.clone()));
        let output = Output::to(Format::Human, streams, to, notes);
        let service = placed(2, &[(1, Phase::Ready), (1, Phase::Ready)]);
        let mut screen = Screen::new(&output, HostNames::default(), several, false);
        for (at, bytes) in pieces {
            let one = &service.assignments[*at];
            let piece = ServiceLogPiece {
                assignment_id: one.id.clone(),
                host_id: one.host_id.clone(),
                data: bytes.map(|bytes| BASE64.encode(bytes)),
                error: None,
            };
            screen.piece(&service, &piece);
        }
        screen.finish();
        format!("{}{}", out.text(), err.text())
    }

    #[test]
    fn one_replica_is_shown_byte_for_byte() {
        let pieces: &[(usize, Option<&[u8]>)] =
            &[(0, Some(b"a\x1b[2J")), (0, Some(b"b")), (0, None)];
        assert_eq!(shown(false, None, pieces), "a\x1b[2Jb");
        assert_eq!(shown(false, Some(80), pieces), "a^[[2Jb");
    }

    #[test]
    fn lines_of_several_are_whole_and_bear_names() {
        let pieces: &[(usize, Option<&[u8]>)] = &[
            (0, Some(b"one\ntw")),
            (1, Some(b"uno\n")),
            (0, Some(b"o\n")),
            (1, Some(b"end")),
        ];
        assert_eq!(
            shown(true, None, pieces),
            "host-1 | one\nhost-2 | uno\nhost-1 | two\nhost-2 | end\n"
        );
        let late: &[(usize, Option<&[u8]>)] = &[(0, Some(b"a\n")), (1, Some(b"b\n"))];
        assert_eq!(
            shown(false, None, late),
            "a\nhost-2 | b\nskyclaw: from here on also what comes from host-2\n"
        );
    }
}
