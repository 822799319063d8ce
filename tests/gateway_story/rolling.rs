//! Updates and changes of the number of replicas while callers read and write.

use crate::load::Load;
use crate::story::Story;

#[test]
fn nobody_notices_updates_and_changes_of_the_number_of_replicas() {
    let Some(story) = Story::begin(&["lab", "web1", "web2"]) else {
        return;
    };
    story.deploy("3", "one");
    story.until_all_answer(3);
    let load = Load::of_all(&story);
    for version in ["two", "three"] {
        story.deploy("3", version);
        for gateway in &story.gateways {
            let answering = gateway.replicas(3);
            assert!(
                answering.iter().all(|one| one.version == version),
                "{version}: {answering:?}"
            );
        }
    }
    for count in ["1", "3"] {
        story.says(&["service", "scale", "api", count, "--wait"]);
        story.until_all_answer(count.parse().unwrap());
    }
    let done = load.end_without_failure();
    eprintln!("{done} requests, two updates, 3 replicas to 1 to 3, none failed");
}
