//! The agents that skyclaw runs on hosts: how each one takes a task. Pure; nothing is run here.
//!
//! What deploy must know of PicoClaw beyond that (its files, its version line, its output) is in [`picoclaw`].

pub mod config;
pub mod env_file;
pub mod picoclaw;
pub mod security;
pub mod template;
mod yaml;

use std::ffi::OsString;

use template::{Placeholder, Template};

/// The longest argument we send: the kernel's limit for one argument is 128 KiB with its final NUL,
/// and what the task is wrapped in needs some of it.
pub const MAX_ARGUMENT: usize = 120 * 1024;

/// A task that an agent cannot be given. Trying again does not help.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The task does not fit into an argument.
    #[error(
        "the task makes an argument of {bytes} bytes and a command line takes at most {MAX_ARGUMENT}: use --task-stdin, or shorten it"
    )]
    TooLong {
        /// Length of the argument.
        bytes: usize,
    },
    /// No argument can hold a NUL.
    #[error("the task contains a NUL byte, which no command line can carry: remove it")]
    Nul,
    /// `--task-stdin` against a template that asks for an argument.
    #[error(
        "--task-stdin sends the task on standard input, but the agent command has {{task}}: leave one of them out"
    )]
    TaskTwice,
    /// PicoClaw reads standard input line by line, each line a task.
    #[error(
        "picoclaw takes every line of standard input as a task of its own: with --task-stdin the task must be one line"
    )]
    ManyLines,
}

/// How to reach the agent's program on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// At this path below the user's home directory.
    Home(String),
    /// At this absolute path.
    Path(String),
    /// Wherever the user's search path has it.
    Search(String),
}

impl Program {
    fn written(text: &str) -> Self {
        match text.strip_prefix("~/") {
            Some(rest) => Self::Home(rest.to_owned()),
            None if text.contains('/') => Self::Path(text.to_owned()),
            None => Self::Search(text.to_owned()),
        }
    }
}

/// Which conversation PicoClaw puts the task into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session<'a> {
    /// One of its own, named after the job.
    Job,
    /// The one with this name, to go on with it.
    Named(&'a str),
    /// The agent has no such choice.
    Unsupported,
}

/// The road a task takes into the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// As the agent prefers.
    Preferred,
    /// On standard input (`--task-stdin`).
    Stdin,
}

/// One task for one host.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// The task text.
    pub task: &'a str,
    /// The job's id.
    pub job: &'a str,
    /// The host's name in the fleet file.
    pub name: &'a str,
    /// The host's address.
    pub host: &'a str,
    /// The host's position in the run, from 0.
    pub index: usize,
    /// The conversation.
    pub session: Session<'a>,
    /// The road of the task text.
    pub passing: Passing,
}

/// What to start on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentCommand {
    /// The program. Where it is missing, the agent is not installed.
    pub program: Program,
    /// Its arguments, without the program's name.
    pub args: Vec<OsString>,
    /// Variables to set.
    pub env: Vec<(String, String)>,
    /// Variables to remove.
    pub unset: Vec<String>,
    /// What to send on standard input; `None` means that it is closed.
    pub stdin: Option<Vec<u8>>,
}

/// An agent that takes tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentPreset {
    /// PicoClaw, where deploy puts it.
    Picoclaw,
    /// OpenClaw's one-shot mode.
    Openclaw,
    /// The user's own command.
    Custom(Template),
}

impl AgentPreset {
    /// Returns the preset called `picoclaw` or `openclaw`, or else the template that `text` is.
    ///
    /// # Errors
    /// When the text is no template.
    pub fn read(text: &str) -> Result<Self, template::Error> {
        match text.trim() {
            "picoclaw" => Ok(Self::Picoclaw),
            "openclaw" => Ok(Self::Openclaw),
            other => other.parse().map(Self::Custom),
        }
    }

    /// Returns how this agent is written on the command line and in the fleet file.
    pub fn name(&self) -> String {
        match self {
            Self::Picoclaw => "picoclaw".to_owned(),
            Self::Openclaw => "openclaw".to_owned(),
            Self::Custom(template) => template.to_string(),
        }
    }

    /// Returns the program whose presence tells that the agent is installed.
    pub fn program(&self) -> Program {
        match self {
            Self::Picoclaw => Program::Home(picoclaw::PROGRAM.to_owned()),
            Self::Openclaw => Program::Search("openclaw".to_owned()),
            Self::Custom(template) => Program::written(template.program()),
        }
    }

    /// Returns the command that does `order`.
    ///
    /// # Errors
    /// When the task cannot be passed the way it was asked for.
    pub fn command_line(&self, order: &Order<'_>) -> Result<AgentCommand, Error> {
        if order.task.contains('\0') {
            return Err(Error::Nul);
        }
        let command = match self {
            Self::Picoclaw => picoclaw_command(self.program(), order)?,
            Self::Openclaw => openclaw_command(self.program(), order),
            Self::Custom(template) => custom_command(self.program(), template, order)?,
        };
        match command.args.iter().map(|arg| arg.len()).max() {
            Some(bytes) if bytes > MAX_ARGUMENT => Err(Error::TooLong { bytes }),
            Some(_) | None => Ok(command),
        }
    }
}

fn picoclaw_command(program: Program, order: &Order<'_>) -> Result<AgentCommand, Error> {
    let mut args = vec![OsString::from("agent")];
    let stdin = match order.passing {
        Passing::Preferred => {
            args.extend(["-m".into(), order.task.into()]);
            None
        }
        Passing::Stdin => {
            let line = order.task.strip_suffix('\n').unwrap_or(order.task);
            if line.contains(['\n', '\r']) {
                return Err(Error::ManyLines);
            }
            Some(format!("{line}\n").into_bytes())
        }
    };
    match order.session {
        Session::Job => args.extend(["-s".into(), picoclaw::session_key(order.job).into()]),
        Session::Named(name) => args.extend(["-s".into(), picoclaw::session_key(name).into()]),
        Session::Unsupported => {}
    }
    Ok(AgentCommand {
        program,
        args,
        env: vec![("NO_COLOR".to_owned(), "1".to_owned())],
        // With TZ set it prints three lines about time zones before the answer.
        unset: vec!["TZ".to_owned()],
        stdin,
    })
}

fn openclaw_command(program: Program, order: &Order<'_>) -> AgentCommand {
    AgentCommand {
        program,
        args: ["agent", "exec", "--message-file", "-"]
            .map(OsString::from)
            .into(),
        env: vec![("NO_COLOR".to_owned(), "1".to_owned())],
        unset: Vec::new(),
        stdin: Some(order.task.as_bytes().to_vec()),
    }
}

fn custom_command(
    program: Program,
    template: &Template,
    order: &Order<'_>,
) -> Result<AgentCommand, Error> {
    if template.takes_task() && order.passing == Passing::Stdin {
        return Err(Error::TaskTwice);
    }
    let index = order.index.to_string();
    let args = template.fill(|placeholder| match placeholder {
        Placeholder::Task => order.task,
        Placeholder::Name => order.name,
        Placeholder::Host => order.host,
        Placeholder::Index => &index,
        Placeholder::Job => order.job,
    });
    Ok(AgentCommand {
        program,
        args: args.into_iter().map(OsString::from).collect(),
        env: Vec::new(),
        unset: Vec::new(),
        // A command without {task} would otherwise run without knowing what to do.
        stdin: (!template.takes_task()).then(|| order.task.as_bytes().to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(task: &str) -> Order<'_> {
        Order {
            task,
            job: "j-1",
            name: "alpha",
            host: "10.0.0.1",
            index: 3,
            session: Session::Job,
            passing: Passing::Preferred,
        }
    }

    fn args(preset: &AgentPreset, order: &Order<'_>) -> Vec<OsString> {
        preset.command_line(order).unwrap().args
    }

    #[test]
    fn picoclaw_gets_the_task_as_one_argument_and_its_own_session() {
        let task = "say \"hi\"\n$(rm -rf /) 'ü'";
        let command = AgentPreset::Picoclaw.command_line(&order(task)).unwrap();
        assert_eq!(command.program, Program::Home(".local/bin/picoclaw".into()));
        assert_eq!(
            command.args,
            ["agent", "-m", task, "-s", "agent:main:skyclaw:j-1"]
        );
        assert_eq!(command.env, [("NO_COLOR".into(), "1".into())]);
        assert_eq!(command.unset, ["TZ"]);
        assert_eq!(command.stdin, None);
    }

    #[test]
    fn sessions_are_named_so_that_picoclaw_honours_them() {
        let cases = [
            (Session::Unsupported, None),
            (Session::Named("daily"), Some("agent:main:skyclaw:daily")),
            (Session::Named("agent:x:y"), Some("agent:x:y")),
            (Session::Named("sk_v1_z"), Some("sk_v1_z")),
        ];
        for (session, key) in cases {
            let words = args(
                &AgentPreset::Picoclaw,
                &Order {
                    session,
                    ..order("t")
                },
            );
            assert_eq!(words.get(4).and_then(|word| word.to_str()), key);
        }
    }

    #[test]
    fn openclaw_gets_any_task_on_standard_input() {
        let task = "x".repeat(MAX_ARGUMENT * 2);
        let command = AgentPreset::Openclaw.command_line(&order(&task)).unwrap();
        assert_eq!(command.program, Program::Search("openclaw".into()));
        assert_eq!(command.args, ["agent", "exec", "--message-file", "-"]);
        assert_eq!(command.stdin, Some(task.into_bytes()));
    }

    #[test]
    fn custom_commands_fill_their_words_or_take_standard_input() {
        let preset = AgentPreset::read("~/bin/t run {task} {name} {host} {index} {job}").unwrap();
        let command = preset.command_line(&order("a b")).unwrap();
        assert_eq!(command.program, Program::Home("bin/t".into()));
        assert_eq!(
            command.args,
            ["run", "a b", "alpha", "10.0.0.1", "3", "j-1"]
        );
        assert_eq!(command.stdin, None);

        let preset = AgentPreset::read("/opt/t --read-stdin").unwrap();
        let command = preset.command_line(&order("a b")).unwrap();
        assert_eq!(command.program, Program::Path("/opt/t".into()));
        assert_eq!(command.stdin.as_deref(), Some(&b"a b"[..]));
    }

    #[test]
    fn refuses_tasks_that_would_not_arrive_whole() {
        let long = "x".repeat(MAX_ARGUMENT + 1);
        let custom = AgentPreset::read("t {task}").unwrap();
        for preset in [&AgentPreset::Picoclaw, &custom] {
            assert!(preset.command_line(&order(&long[1..])).is_ok());
            let error = preset.command_line(&order(&long)).unwrap_err();
            assert_eq!(error, Error::TooLong { bytes: long.len() });
            assert!(error.to_string().contains("--task-stdin"));
            assert_eq!(preset.command_line(&order("a\0b")), Err(Error::Nul));
        }
        let stdin = |task| Order {
            passing: Passing::Stdin,
            ..order(task)
        };
        assert_eq!(custom.command_line(&stdin("t")), Err(Error::TaskTwice));
        let picoclaw = AgentPreset::Picoclaw;
        assert_eq!(picoclaw.command_line(&stdin("a\nb")), Err(Error::ManyLines));
        let command = picoclaw.command_line(&stdin(&long)).unwrap();
        assert_eq!(command.args, ["agent", "-s", "agent:main:skyclaw:j-1"]);
        assert_eq!(command.stdin, Some(format!("{long}\n").into_bytes()));
    }
}
