//! Changing a supervisor's children at run time.

use super::{ChildSpec, Rc, RefCell, SpecError, mpsc, oneshot};

/// Commands that may wait for a supervisor.
const COMMANDS_MAX: usize = 16;

/// Why a change of children didn't happen, or isn't known to have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DynamicError {
    /// The supervisor isn't running, or has too many commands waiting. Nothing has happened;
    /// retrying later may help.
    #[error("the supervisor is not available")]
    Unavailable,
    /// It has no such child. Nothing has happened; retrying can't help.
    #[error("no child named `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// It has a child of that name that isn't stopped. Nothing has happened; retrying can't help.
    #[error("a child named `{name}` is there already")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// It has as many children as it may have. Nothing has happened.
    #[error("too many children")]
    TooManyChildren,
    /// The spec can't be. Nothing has happened; retrying can't help.
    #[error("bad spec")]
    Spec {
        /// What is wrong with it.
        #[source]
        source: SpecError,
    },
    /// A later command for the same child took over. What the child does is what that one says.
    #[error("a later command took over")]
    Superseded,
    /// The supervisor stopped before the command was carried out.
    #[error("the supervisor stopped first")]
    Interrupted,
}

/// A handle to a supervisor's children. Made before the supervisor (`SupervisorSpec::control`) and
/// good for all of its incarnations. Cheap to clone; lives on the actors' thread.
#[derive(Clone, Default)]
pub struct SupervisorRef {
    commands: Rc<RefCell<Option<mpsc::Sender<Command>>>>,
}

pub(super) enum Verb {
    Start(ChildSpec),
    Replace(String, ChildSpec),
    Stop(String),
    Remove(String),
}

pub(super) struct Command {
    pub(super) verb: Verb,
    pub(super) done: Done,
}

/// Who waits for a command.
pub(super) struct Done(oneshot::Sender<Result<(), DynamicError>>);

impl Done {
    pub(super) fn answer(self, answer: Result<(), DynamicError>) {
        // The caller may have stopped waiting; the command holds all the same.
        drop(self.0.send(answer));
    }
}

impl SupervisorRef {
    /// A handle to nobody yet.
    pub fn vacant() -> Self {
        Self::default()
    }

    /// A supervisor begins an incarnation.
    pub(super) fn open(&self) -> mpsc::Receiver<Command> {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        *self.commands.borrow_mut() = Some(commands);
        receiver
    }

    /// Adds a child behind the others, or starts one that was stopped, with this spec. Done when it
    /// is ready.
    ///
    /// Like all verbs here it is given by the call; what is returned only waits, and never ends while
    /// the child doesn't become ready.
    ///
    /// # Errors
    /// See [`DynamicError`].
    pub fn start(
        &self,
        spec: ChildSpec,
    ) -> impl Future<Output = Result<(), DynamicError>> + 'static + use<> {
        self.give(spec.check(1).map(|()| Verb::Start(spec)))
    }

    /// Puts another spec, of the same or another name, into a child's place: the child is stopped
    /// within its deadline, then the successor is started. Siblings don't notice. Done when the
    /// successor is ready.
    ///
    /// # Errors
    /// See [`DynamicError`].
    pub fn replace(
        &self,
        name: &str,
        spec: ChildSpec,
    ) -> impl Future<Output = Result<(), DynamicError>> + 'static + use<> {
        self.give(spec.check(1).map(|()| Verb::Replace(name.to_owned(), spec)))
    }

    /// Stops a child, which keeps its place. Done when it is down.
    ///
    /// # Errors
    /// See [`DynamicError`].
    pub fn stop(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<(), DynamicError>> + 'static + use<> {
        self.give(Ok(Verb::Stop(name.to_owned())))
    }

    /// Stops a child and forgets it. Done when it is gone.
    ///
    /// # Errors
    /// See [`DynamicError`].
    pub fn remove(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<(), DynamicError>> + 'static + use<> {
        self.give(Ok(Verb::Remove(name.to_owned())))
    }

    fn give(
        &self,
        verb: Result<Verb, SpecError>,
    ) -> impl Future<Output = Result<(), DynamicError>> + 'static + use<> {
        let given = verb.map_err(|source| DynamicError::Spec { source }).and_then(|verb| {
            let (done, answer) = oneshot::channel();
            let commands = self.commands.borrow();
            let commands = commands.as_ref().ok_or(DynamicError::Unavailable)?;
            let command = Command { verb, done: Done(done) };
            commands.try_send(command).map_err(|_| DynamicError::Unavailable)?;
            Ok(answer)
        });
        async move { given?.await.unwrap_or(Err(DynamicError::Interrupted)) }
    }
}
