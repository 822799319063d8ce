//! The stop signal. The first one asks to stop, the second one to leave at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How urgently the user wants the program to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nobody asked.
    Running,
    /// Start nothing new, end what runs, report.
    Stop,
    /// Leave now.
    Now,
}

/// Which signal asked first; it decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Ctrl-C: exit code 130.
    Interrupt,
    /// SIGTERM, or the terminal went away: exit code 143.
    Terminate,
}

/// A listener for the stop signal. Clones hear the same signal.
#[derive(Debug, Clone)]
pub struct Shutdown {
    state: watch::Receiver<(Urgency, Option<Cause>)>,
}

/// The other end, for those who stop a service themselves.
#[derive(Debug)]
pub struct Trigger(watch::Sender<(Urgency, Option<Cause>)>);

impl Trigger {
    /// Asks once more: first to stop, then to leave now.
    pub fn ask(&self, cause: Cause) {
        self.0.send_modify(|(urgency, first)| {
            *urgency = if *urgency == Urgency::Running {
                Urgency::Stop
            } else {
                Urgency::Now
            };
            first.get_or_insert(cause);
        });
    }
}

/// Returns a pair that no signal moves.
pub fn manual() -> (Trigger, Shutdown) {
    let (sender, state) = watch::channel((Urgency::Running, None));
    (Trigger(sender), Shutdown { state })
}

impl Shutdown {
    /// Starts to listen for SIGINT, SIGTERM and SIGHUP.
    ///
    /// # Errors
    /// When the system refuses a signal handler.
    pub fn listen() -> std::io::Result<Self> {
        Self::listen_to(Some(signal(SignalKind::hangup())?))
    }

    /// Starts to listen for SIGINT and SIGTERM, for services to which SIGHUP means something else.
    ///
    /// # Errors
    /// When the system refuses a signal handler.
    pub fn listen_without_hangup() -> std::io::Result<Self> {
        Self::listen_to(None)
    }

    fn listen_to(mut hangup: Option<Signal>) -> std::io::Result<Self> {
        let (trigger, shutdown) = manual();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::spawn(async move {
            loop {
                let hung_up = async {
                    match &mut hangup {
                        Some(hangup) => hangup.recv().await,
                        None => std::future::pending().await,
                    }
                };
                let cause = tokio::select! {
                    _ = interrupt.recv() => Cause::Interrupt,
                    _ = terminate.recv() => Cause::Terminate,
                    _ = hung_up => Cause::Terminate,
                };
                trigger.ask(cause);
            }
        });
        Ok(shutdown)
    }

    /// Returns how urgent it is.
    pub fn urgency(&self) -> Urgency {
        self.state.borrow().0
    }

    /// Returns what asked first, if anything did.
    pub fn cause(&self) -> Option<Cause> {
        self.state.borrow().1
    }

    /// Waits until it is at least this urgent. Never returns if the other end is gone before that.
    pub async fn reached(&mut self, urgency: Urgency) {
        if self
            .state
            .wait_for(|(now, _)| *now >= urgency)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_ask_is_more_urgent_and_the_first_cause_stays() {
        let (trigger, mut shutdown) = manual();
        assert_eq!(shutdown.urgency(), Urgency::Running);
        trigger.ask(Cause::Interrupt);
        shutdown.reached(Urgency::Stop).await;
        trigger.ask(Cause::Terminate);
        shutdown.reached(Urgency::Now).await;
        assert_eq!(shutdown.cause(), Some(Cause::Interrupt));
    }
}
