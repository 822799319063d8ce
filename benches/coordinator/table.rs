//! What was measured, as a table for people and as JSON for programs.

use serde_json::{Value, json};

/// What is asked of a figure.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// It must not be smaller.
    AtLeast(f64),
    /// It must be smaller.
    Below(f64),
    /// It must not be larger.
    AtMost(f64),
}

impl Target {
    fn is_reached_by(self, amount: f64) -> bool {
        match self {
            Self::AtLeast(least) => amount >= least,
            Self::Below(limit) => amount < limit,
            Self::AtMost(most) => amount <= most,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {}", short(least)),
            Self::Below(limit) => format!("< {}", short(limit)),
            Self::AtMost(most) => format!("≤ {}", short(most)),
        }
    }
}

/// One figure of ours with those of the peers.
#[derive(Debug, Clone)]
pub struct Row {
    what: String,
    callers: Option<usize>,
    unit: &'static str,
    ours: Option<f64>,
    peers: Vec<(String, f64)>,
    target: Option<Target>,
    note: String,
}

impl Row {
    /// Returns a row with a figure in `unit`.
    pub fn new(what: &str, ours: f64, unit: &'static str) -> Self {
        Self {
            what: what.to_owned(),
            callers: None,
            unit,
            ours: Some(ours),
            peers: Vec::new(),
            target: None,
            note: String::new(),
        }
    }

    /// Returns a row with jobs per second.
    pub fn rate(what: &str, ours: f64) -> Self {
        Self::new(what, ours, "jobs/s")
    }

    /// Returns a row that says why there is no figure.
    pub fn failed(what: &str, why: &str) -> Self {
        let row = Self::new(what, 0.0, "");
        Self { ours: None, ..row }.note(why)
    }

    /// Adds how many drove the load.
    #[must_use]
    pub fn callers(self, callers: usize) -> Self {
        Self {
            callers: Some(callers),
            ..self
        }
    }

    /// Adds what is asked of it.
    #[must_use]
    pub fn target(self, target: Target) -> Self {
        Self {
            target: Some(target),
            ..self
        }
    }

    /// Adds the figure of a peer.
    #[must_use]
    pub fn peer(mut self, name: &str, amount: f64) -> Self {
        self.peers.push((name.to_owned(), amount));
        self
    }

    /// Adds a remark.
    #[must_use]
    pub fn note(self, note: &str) -> Self {
        Self {
            note: note.to_owned(),
            ..self
        }
    }

    fn reached(&self) -> Option<bool> {
        let target = self.target?;
        Some(self.ours.is_some_and(|ours| target.is_reached_by(ours)))
    }

    /// Returns it as JSON.
    pub fn json(&self) -> Value {
        let peers: Vec<_> = self
            .peers
            .iter()
            .map(|(name, amount)| {
                let ratio = self.ours.map(|ours| ours / amount);
                json!({"name": name, "amount": amount, "ratio": ratio})
            })
            .collect();
        json!({
            "what": self.what,
            "callers": self.callers,
            "unit": self.unit,
            "ours": self.ours,
            "peers": peers,
            "target": self.target.map(Target::text),
            "reached": self.reached(),
            "note": self.note,
        })
    }

    fn cells(&self, peers: &[&str]) -> Vec<String> {
        let callers = self.callers.map_or_else(String::new, |n| n.to_string());
        let ours = match self.ours {
            Some(ours) => format!("{} {}", short(ours), self.unit),
            None => "failed".to_owned(),
        };
        let word = match self.reached() {
            Some(true) => "reached",
            Some(false) => "missed",
            None => "",
        };
        let target = self.target.map_or_else(String::new, Target::text);
        let mut cells = vec![self.what.clone(), callers, ours, target, word.to_owned()];
        cells.extend(peers.iter().map(|name| self.peer_cell(name)));
        cells
    }

    /// Returns the figure of a peer, and ours divided by it.
    fn peer_cell(&self, name: &str) -> String {
        match self.peers.iter().find(|(known, _)| known == name) {
            Some((_, amount)) => {
                let ratio = self.ours.map(|ours| format!(" ({:.2})", ours / amount));
                format!("{}{}", short(*amount), ratio.unwrap_or_default())
            }
            None => String::new(),
        }
    }
}

/// Returns the rows as a table in Markdown, with the remarks below it.
pub fn table(rows: &[Row]) -> String {
    let mut peers: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flat_map(|row| &row.peers) {
        if !peers.contains(&name.as_str()) {
            peers.push(name);
        }
    }
    let heads = ["what", "callers", "ours", "target", ""];
    let heads: Vec<_> = heads.into_iter().chain(peers.iter().copied()).collect();
    let mut lines = vec![
        format!("| {} |", heads.join(" | ")),
        format!("|---|--:|--:|--:|---|{}", "--:|".repeat(peers.len())),
    ];
    let row = |row: &Row| format!("| {} |", row.cells(&peers).join(" | "));
    lines.extend(rows.iter().map(row));
    lines.push(String::new());
    for row in rows.iter().filter(|row| !row.note.is_empty()) {
        let callers = row
            .callers
            .map_or_else(String::new, |count| format!(" ({count} callers)"));
        lines.push(format!("- {}{callers}: {}.", row.what, row.note));
    }
    lines.join("\n")
}

/// Returns a figure with three digits that mean something.
fn short(amount: f64) -> String {
    match amount.abs() {
        size if size >= 100.0 => format!("{amount:.0}"),
        size if size >= 10.0 => format!("{amount:.1}"),
        _ => format!("{amount:.2}"),
    }
}
