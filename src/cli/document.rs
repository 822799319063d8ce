//! The one JSON document of a run, whose outputs are read back one by one while it is written.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::summary::report_json;
use crate::fleet::report::TaskReport;

/// Where the reports go in a document.
pub const RESULTS: &str = "results";

/// What is written.
#[derive(Debug)]
pub struct Document<'a> {
    /// Everything but the reports, with something at their place.
    pub body: &'a Map<String, Value>,
    /// The reports.
    pub reports: &'a [TaskReport],
    /// Whether only the agent's answer is shown of its output.
    pub strip: bool,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.body.len()))?;
        for (key, value) in self.body {
            match key.as_str() {
                RESULTS => map.serialize_entry(key, &Results(self))?,
                _ => map.serialize_entry(key, value)?,
            }
        }
        map.end()
    }
}

struct Results<'d, 'a>(&'d Document<'a>);

impl Serialize for Results<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Document { reports, strip, .. } = self.0;
        let one_by_one = reports
            .iter()
            .map(|report| report_json(report, true, *strip));
        serializer.collect_seq(one_by_one)
    }
}
