//! What a task has left on its host: asks whether there is anything, and ends it.

use std::sync::LazyLock;

use super::LAST_CALL;
use crate::ssh::Connection;
use crate::ssh::shell::{Code, Marker, command_line, header};

static SIGNAL: LazyLock<String> =
    LazyLock::new(|| command_line(include_str!("../../../templates/signal.sh")));

/// Signals what is left of a task, in its process group or bearing its word, or asks with `0` whether anything is.
pub(super) async fn signal(
    connection: &Connection,
    group: Option<u64>,
    word: &str,
    signal: &'static str,
) -> bool {
    let marker = Marker::fresh();
    let mut code = Code::new().raw("s=").raw(signal).raw("; p=");
    if let Some(group) = group {
        code = code.number(group);
    }
    let code = code.raw("; w=").word(word.as_bytes());
    let asked = connection.run(&SIGNAL, header(&marker, [code]), 64 << 10);
    match tokio::time::timeout(LAST_CALL, asked).await {
        Ok(Ok(answer)) => {
            let yes = format!("{} yes", marker.reply());
            String::from_utf8_lossy(&answer.stdout).contains(&yes)
        }
        Ok(Err(_)) | Err(_) => false,
    }
}
