//! Members without threads, whose time and chance are given: the same again every time.

use std::sync::Arc;
use std::time::Duration;

use super::harness::{Net, Node, agree, leader};
use crate::support::clock::{Clock, Timestamp};
use crate::support::ids;

/// Tells the time of the simulation.
struct Simulated(tokio::time::Instant);

impl Clock for Simulated {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).plus(self.0.elapsed())
    }
}

fn node(net: &Arc<Net>, dir: Arc<tempfile::TempDir>) -> Node {
    let open = Node::open_with(net, dir, |options| {
        options.inline = true;
        options.clock = Arc::new(Simulated(tokio::time::Instant::now()));
    });
    open.unwrap()
}

async fn story() -> (usize, u64, Duration, [u8; 32]) {
    let start = tokio::time::Instant::now();
    let net = Arc::new(Net::default());
    let fresh = || node(&net, Arc::new(tempfile::tempdir().unwrap()));
    let mut nodes = vec![fresh(), fresh(), fresh()];
    nodes[0].cluster.found(nodes[0].member()).await.unwrap();
    for other in &nodes[1..] {
        nodes[0].take_in(other).await;
    }
    for _ in 0..150 {
        nodes[0].submit().await.unwrap();
    }
    let first = nodes.remove(0).kill().await;
    let at = leader(&nodes).await;
    for _ in 0..20 {
        nodes[at].submit().await.unwrap();
    }
    nodes.push(node(&net, first));
    agree(&nodes.iter().collect::<Vec<_>>()).await;
    let hash = nodes[0].cluster.state_hash().await.unwrap();
    let term = nodes[at].cluster.status().term;
    (at, term, start.elapsed(), hash)
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let told = |seed| {
        // Chance belongs to a thread.
        let thread = std::thread::spawn(move || {
            ids::simulate(seed);
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().start_paused(true).build().unwrap();
            runtime.block_on(story())
        });
        thread.join().unwrap()
    };
    let (_, term, _, _) = told(3);
    assert!(term > 1);
    for seed in [3, 4] {
        assert_eq!(told(seed), told(seed));
    }
}
