//! What a member is left with when it ends in the middle of something, and that it comes back from there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::begin::Begin;
use super::super::compact::KEPT_ENTRIES;
use super::super::log::{Notes, note, to_note};
use super::super::{ClusterId, Role, force_new_cluster, send};
use super::harness::{Net, Node, SOON, agree, cluster, has, leader};
use crate::protocol::JobId;
use crate::queue::Error;
use crate::queue::engine::tests::small_disk::SmallDisk;
use crate::queue::store::{Edit, Journal, Pinned, Store, journal_of};

/// Waits until nobody has the queue of a member that was ended open: its writer ends a little later.
async fn let_go(queue: &Path) {
    let mut lock = queue.as_os_str().to_owned();
    lock.push("-lock");
    let lock = std::fs::File::open(lock).unwrap();
    let alone = async {
        while lock.try_lock().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let free = tokio::time::timeout(SOON, alone).await;
    free.expect("it is still open");
}

/// Copies the files of a member that has ended, as they are.
fn move_to(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = {
            let entry = entry.unwrap();
            (entry.path(), entry.file_name())
        };
        match path.is_dir() {
            true => move_to(&path, &to.join(name)),
            false => drop(std::fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}

/// Puts so many jobs in that a member that is away needs a copy; each has this many bytes. Returns who leads too.
async fn outrun(nodes: &[Node], seen: u64, bytes: usize) -> (usize, Vec<JobId>) {
    let (mut at, mut jobs) = (leader(nodes).await, Vec::new());
    while jobs.len() < 3 * KEPT_ENTRIES as usize {
        match nodes[at].submit_long(bytes).await {
            Ok(job) => jobs.push(job),
            // On a machine that is busy with other things somebody may miss the leader.
            Err(Error::NoQuorum(_) | Error::NotLeader { .. }) => at = leader(nodes).await,
            Err(error) => panic!("{error}"),
        }
    }
    let purged = || async { nodes[at].purged().await > seen };
    nodes[at].poll("the log is never shortened", purged).await;
    (at, jobs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_for_which_there_was_no_room_is_taken_over_once_there_is() {
    let Some(disk) = SmallDisk::mount("size=7m") else {
        return;
    };
    let net = Arc::new(Net::default());
    let nodes = cluster(&net, 2).await;
    let poor = Node::open(&net, disk.dir()).unwrap();
    nodes[0].take_in(&poor).await;
    let seen = poor.cluster.status().applied;
    poor.kill().await;
    // Room for the copy, but not for becoming it.
    let (_, jobs) = outrun(&nodes, seen, 36_000).await;
    let poor = Node::open(&net, disk.dir()).unwrap();
    let died = tokio::time::timeout(SOON, poor.cluster.failed()).await;
    let why = died.expect("it lives on");
    assert!(why.contains("no room"), "{why}");
    let path = poor.path();
    poor.kill().await;
    let_go(&path).await;
    let larger = Arc::new(tempfile::tempdir().unwrap());
    move_to(disk.path(), larger.path());
    let back = Node::open(&net, larger).unwrap();
    agree(&[&nodes[0], &nodes[1], &back]).await;
    for job in jobs {
        assert!(has(&back, job).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_taken_over_after_the_log_was_shortened_to_where_it_ends() {
    let net = Arc::new(Net::default());
    let mut nodes = cluster(&net, 3).await;
    let away = nodes.pop().unwrap();
    let (seen, path) = (away.cluster.status().applied, away.path());
    let dir = away.kill().await;
    let (at, jobs) = outrun(&nodes, seen, 10).await;
    // As openraft does: the log goes first, and the queue follows when it can.
    let copy = send::whole(&path);
    std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
    let view = Pinned::take(&nodes[at].path()).unwrap();
    view.write_to(&copy).unwrap();
    let upto = view.replica().unwrap().applied.unwrap();
    {
        let mut journal = Journal::open(&path).unwrap();
        let purged = to_note(note::PURGED, &super::super::types::log_id(&upto));
        let edits = [Edit::DropTo(upto.index), purged];
        journal.edit(&edits).unwrap();
    }
    drop(view);
    let back = Node::open(&net, Arc::clone(&dir)).unwrap();
    assert!(!copy.exists(), "it is not needed any more");
    agree(&[&nodes[0], &nodes[1], &back]).await;
    for job in jobs {
        assert!(has(&back, job).await);
    }
    // Without the copy there is nothing to come back from.
    back.kill().await;
    let store = Store::open(&path, false).unwrap();
    let mut replica = store.replica().unwrap().unwrap();
    let upto = replica.applied.as_mut().unwrap();
    upto.index = seen;
    store.set_replica(&replica).unwrap();
    drop(store);
    let refused = Node::open(&net, dir).map(|node| node.id);
    assert!(matches!(refused, Err(Error::Log { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founding_that_was_cut_short_can_be_begun_again() {
    let net = Arc::new(Net::default());
    let node = Node::fresh(&net);
    let job = node.submit().await.unwrap();
    let (path, member, id) = (node.path(), node.member(), node.id);
    let dir = node.kill().await;
    // The queue has its word, the log does not.
    let store = Store::open(&path, false).unwrap();
    let begin = Begin::first(id, member, ClusterId::random());
    store
        .set_replica(&begin.replica(Default::default()))
        .unwrap();
    drop(store);
    drop(Journal::open(&path).unwrap());
    let node = Node::open(&net, dir).unwrap();
    assert_eq!(node.cluster.status().role, Role::Lone);
    node.cluster.found(node.member()).await.unwrap();
    let second = Node::fresh(&net);
    node.take_in(&second).await;
    agree(&[&node, &second]).await;
    assert!(has(&second, job).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_on_alone_that_was_cut_short_is_finished() {
    let net = Arc::new(Net::default());
    let mut nodes = cluster(&net, 2).await;
    let job = nodes[0].submit().await.unwrap();
    agree(&[&nodes[0], &nodes[1]]).await;
    let last = nodes.pop().unwrap();
    let (id, member, path) = (last.id, last.member(), last.path());
    let index = last.cluster.status().applied + 1;
    let dir = last.kill().await;
    let_go(&path).await;
    drop(nodes);
    for (queue_too, by_hand) in [(false, false), (true, false), (false, true), (true, true)] {
        let torn = Arc::new(tempfile::tempdir().unwrap());
        move_to(dir.path(), torn.path());
        let path = torn.path().join(path.file_name().unwrap());
        let begin = Begin::after(id, member.clone(), ClusterId::random(), (9, index));
        {
            let mut journal = Journal::open(&path).unwrap();
            journal.edit(&[to_note(note::FORCING, &begin)]).unwrap();
        }
        if queue_too {
            let store = Store::open(&path, false).unwrap();
            store
                .set_replica(&begin.replica(Default::default()))
                .unwrap();
        }
        if by_hand {
            // The owner saw that it was cut short, and does it again.
            assert!(force_new_cluster(&path).unwrap().dropped.is_empty());
        }
        let alone = Node::open(&Arc::new(Net::default()), torn).unwrap();
        let leads = |status: &super::super::Status| status.role == Role::Leader;
        let status = alone.until("does not lead", leads).await;
        assert_eq!(status.cluster == Some(begin.cluster), !by_hand);
        assert!(has(&alone, job).await);
        alone.submit().await.unwrap();
        alone.kill().await;
    }
}

/// One process led when it ended; two began where it was. Whoever leads after that was elected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_leader_does_not_lead_beside_it() {
    let net = Arc::new(Net::default());
    let mut nodes = cluster(&net, 3).await;
    nodes[0].submit().await.unwrap();
    let first = nodes.remove(0);
    let (before, path) = (first.cluster.status(), first.path());
    assert_eq!(before.role, Role::Leader);
    let dir = first.kill().await;
    let_go(&path).await;
    let other = Arc::new(tempfile::tempdir().unwrap());
    move_to(dir.path(), other.path());
    let first = Node::open(&net, dir).unwrap();
    agree(&[&first, &nodes[0], &nodes[1]]).await;
    // It reaches nobody. Had it gone on as leader, its term would stay what it was.
    let copy = Node::open(&Arc::new(Net::default()), other).unwrap();
    let stands = |status: &super::super::Status| status.term > before.term;
    let status = copy.until("does not stand for election", stands).await;
    assert_eq!(status.role, Role::Candidate);
    assert!(copy.submit().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_on_alone_with_a_members_queue_can_found_a_cluster_again() {
    let net = Arc::new(Net::default());
    let mut nodes = cluster(&net, 2).await;
    let job = nodes[0].submit().await.unwrap();
    agree(&[&nodes[0], &nodes[1]]).await;
    let last = nodes.pop().unwrap();
    let path = last.path();
    let dir = last.kill().await;
    let_go(&path).await;
    drop(nodes);
    // As after a backup was put back: the queue alone.
    for ending in ["", "-wal", "-shm"] {
        let mut file = journal_of(&path).into_os_string();
        file.push(ending);
        let _ = std::fs::remove_file(file);
    }
    let net = Arc::new(Net::default());
    let alone = Node::open(&net, dir).unwrap();
    alone.submit().await.unwrap();
    alone.cluster.found(alone.member()).await.unwrap();
    let second = Node::fresh(&net);
    alone.take_in(&second).await;
    agree(&[&alone, &second]).await;
    assert!(has(&second, job).await);
    let path = alone.path();
    let _dir = alone.kill().await;
    let notes = Notes::read(&Journal::open(&path).unwrap()).unwrap();
    assert!(notes.is_member());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_put_back_beside_a_newer_queue_is_refused() {
    let net = Arc::new(Net::default());
    let mut nodes = cluster(&net, 3).await;
    let node = nodes.pop().unwrap();
    let path = node.path();
    let dir = node.kill().await;
    let_go(&path).await;
    let earlier = tempfile::tempdir().unwrap();
    move_to(dir.path(), earlier.path());
    let node = Node::open(&net, Arc::clone(&dir)).unwrap();
    nodes[0].submit().await.unwrap();
    agree(&[&nodes[0], &nodes[1], &node]).await;
    node.kill().await;
    let_go(&path).await;
    for ending in ["", "-wal", "-shm"] {
        let mut file = journal_of(&path).into_os_string();
        file.push(ending);
        let file = std::path::PathBuf::from(file);
        let _ = std::fs::remove_file(&file);
        let old = earlier.path().join(file.file_name().unwrap());
        if old.exists() {
            std::fs::copy(old, file).unwrap();
        }
    }
    // It has forgotten what it told others that it has.
    match Node::open(&net, dir).map(|node| node.id) {
        Err(Error::Log { detail, .. }) => assert!(detail.contains("does not fit"), "{detail}"),
        other => panic!("{other:?}"),
    }
}
