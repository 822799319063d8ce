//! The deployer as other verbs use it: on an open connection, and back again.

use std::sync::Arc;
use std::time::Duration;

use skyclaw::fleet::deploy::{Change, Component, Deployer, Options, Origin};
use skyclaw::fleet::file::{Fleet, Host, Overrides};
use skyclaw::fleet::link::{Link, Links};
use skyclaw::ssh::auth::Identities;
use skyclaw::ssh::known_hosts::KnownHosts;
use skyclaw::ssh::{HostKeyPolicy, Settings};

use super::*;

struct Site {
    bed: Bed,
    host: Host,
    link: Link,
}

impl Site {
    async fn new() -> Option<Self> {
        let bed = Bed::new()?;
        let key = bed.world.dir().join("key");
        fs::write(&key, KEY).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let entry = bed.server.fleet_host("alpha");
        let path = bed
            .world
            .fleet(&[entry.with("api_key_file", key.to_str().unwrap())]);
        let fleet = Fleet::load(&path, &Overrides::default()).unwrap();
        let host = fleet.hosts[0].clone();
        let known = Some(bed.world.known_hosts());
        let settings = Settings {
            connect_timeout: Some(Duration::from_secs(20)),
            known_hosts: Arc::new(KnownHosts::load(HostKeyPolicy::AcceptNew, known, &[])),
            identities: Arc::new(Identities::new(None, Box::new(|_| None))),
            keepalive: None,
            throttle: Arc::default(),
        };
        let link = Links::new(settings, 1).open(&host).await.unwrap();
        Some(Self { bed, host, link })
    }

    fn options(&self, program: &Path) -> Options {
        let origin = Origin::File {
            path: program.to_owned(),
            sha256: None,
        };
        Options::new(
            Component::Picoclaw,
            origin,
            self.bed.world.dir().join("cache"),
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_what_was_there_before() {
    let Some(site) = Site::new().await else {
        return;
    };
    let home = site.bed.server.home();
    let deployer = Deployer::new(&site.options(Path::new(AGENT)));
    let connection = &site.link.connection;

    let deployed = deployer.run_on(connection, &site.host).await.unwrap();
    assert_eq!(deployed.change, Change::Installed);
    assert!(!deployed.had_binary_before && !deployed.had_config_before);
    assert!(
        deployed
            .created
            .contains(&"~/.local/bin/picoclaw".to_owned())
    );
    assert!(!format!("{deployed:?}").contains(KEY));

    let old = home.join(".local/bin/picoclaw");
    fs::write(&old, "#!/bin/sh\necho picoclaw 0.0.1\n").unwrap();
    let config = home.join(".picoclaw/config.json");
    fs::write(&config, "{\"own\": true}\n").unwrap();
    let deployed = deployer.run_on(connection, &site.host).await.unwrap();
    assert!(deployed.had_binary_before && deployed.had_config_before);
    assert_eq!(deployed.change, Change::Updated);
    assert!(
        deployed
            .replaced
            .contains(&"~/.picoclaw/config.json".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_onboard_without_end_is_ended() {
    let Some(site) = Site::new().await else {
        return;
    };
    let endless = site.bed.world.dir().join("endless");
    fs::write(
        &endless,
        "#!/bin/sh\ncase $1 in version) echo picoclaw 1.0;; *) echo hm; sleep 600;; esac\n",
    )
    .unwrap();
    let options = Options {
        onboard_limit: Duration::from_millis(300),
        ..site.options(&endless)
    };
    let deployed = Deployer::new(&options)
        .run_on(&site.link.connection, &site.host)
        .await
        .unwrap();
    assert_eq!(deployed.change, Change::Installed);
    assert!(
        deployed.warnings[0].contains("did not end within 300ms: hm"),
        "{:?}",
        deployed.warnings
    );
    common::eventually(Duration::from_secs(10), || {
        site.bed.server.session_processes().is_empty()
    });
}
