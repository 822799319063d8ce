//! Several processes on one file, and processes that die.

use std::process::{Child, Command, Stdio};

use super::*;

/// Runs one of the children below as a process of its own.
fn start(child: &str, dir: &Path, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", child])
        .env("SKYCLAW_TEST_DIR", dir)
        .env("SKYCLAW_TEST_NAME", name)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_openers_share_one_file_and_no_job_is_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let queues = [open(dir.path()).0, open(dir.path()).0];
    let runs: Vec<_> = queues
        .iter()
        .cloned()
        .enumerate()
        .map(|(number, queue)| {
            tokio::spawn(async move {
                let mut given = Vec::new();
                for _ in 0..100 {
                    queue.submit(only(vec![job()]), None).await.unwrap();
                    given.push(claim_one(&queue, &format!("h{number}")).await.job);
                }
                given
            })
        })
        .collect();
    let mut all = Vec::new();
    for run in runs {
        all.extend(run.await.unwrap());
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 200);
}

/// Not a test: what the next test runs as another process and kills.
#[tokio::test]
#[ignore = "run by the test that kills it"]
async fn child_that_submits_for_ever() {
    let Some(dir) = std::env::var_os("SKYCLAW_TEST_DIR") else {
        return;
    };
    let (queue, _) = open(Path::new(&dir));
    loop {
        let done = queue.submit(only(vec![job()]), None).await.unwrap();
        println!("\naccepted {}", done.jobs[0]);
    }
}

#[tokio::test]
async fn what_was_accepted_survives_a_kill() {
    use std::io::BufRead;
    let dir = tempfile::tempdir().unwrap();
    let mut child = start("child_that_submits_for_ever", dir.path(), "");
    let mut accepted: Vec<JobId> = Vec::new();
    for line in std::io::BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        accepted.extend(
            line.strip_prefix("accepted ")
                .and_then(|id| id.parse::<JobId>().ok()),
        );
        if accepted.len() == 200 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(accepted.len() >= 200);
    let (queue, _) = open(dir.path());
    for id in accepted {
        assert!(queue.job(id).await.unwrap().is_some());
    }
}

/// Not a test: what the next test runs twice at once. Puts jobs in and works on whatever is there.
#[tokio::test]
#[ignore = "run by the test that starts two"]
async fn child_that_works() {
    let (Some(dir), Ok(name)) = (
        std::env::var_os("SKYCLAW_TEST_DIR"),
        std::env::var("SKYCLAW_TEST_NAME"),
    ) else {
        return;
    };
    let (queue, _) = open(Path::new(&dir));
    for _ in 0..40 {
        let two = only(vec![job(), job()]);
        queue.submit(two, None).await.unwrap();
        for given in queue.claim(asks(&name)).await.unwrap() {
            println!("\ngiven {} {}", given.job, given.attempt);
            let done = queue.complete(given.lease(), report(Verdict::Succeeded));
            assert!(matches!(done.await.unwrap(), Completion::Ended { .. }));
        }
    }
    while let Some(given) = queue.claim(asks(&name)).await.unwrap().pop() {
        println!("\ngiven {} {}", given.job, given.attempt);
        let done = queue.complete(given.lease(), report(Verdict::Succeeded));
        done.await.unwrap();
    }
}

#[tokio::test]
async fn two_processes_share_one_file_from_its_first_moment() {
    let dir = tempfile::tempdir().unwrap();
    let children = ["a", "b"].map(|name| start("child_that_works", dir.path(), name));
    let mut given = Vec::new();
    for child in children {
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{done:?}");
        let text = String::from_utf8(done.stdout).unwrap();
        given.extend(
            text.lines()
                .filter_map(|line| line.strip_prefix("given "))
                .map(ToOwned::to_owned),
        );
    }
    given.sort();
    let all = given.len();
    given.dedup();
    assert_eq!(
        (given.len(), all),
        (160, 160),
        "each job once, and all of them"
    );
    let (queue, _) = open(dir.path());
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.completed, counts.total()), (160, 160));
    check(dir.path());
}
