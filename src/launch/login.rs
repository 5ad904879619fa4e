//! Who may come in: the password file behind its pool, or everybody where anonymous clients are let in and no file is set.

use crate::login::{Attempt, LoginCounts, LoginLimits, LoginPool, NotTaken, Passwords, Verdict as Checked};
use crate::serve::StartError;
use crate::settings::Settings;
use bitsim_engine::effect::AuthRequest;
use bitsim_engine::input::Verdict;
use bitsim_shards::Login;
use std::sync::{Arc, PoisonError, RwLock};

/// Tells a shard what was decided.
type Answer = Box<dyn FnOnce(Verdict) + Send>;

/// See the module. Called on shards; never blocks on a verification.
pub(super) struct LoginGate {
    /// `None`: no password file; names and passwords are not looked at.
    pool: RwLock<Option<Arc<LoginPool<Answer>>>>,
}

impl LoginGate {
    /// Starts the pool if there is a password file.
    pub(super) fn start(
        settings: &Settings,
        passwords: Option<Arc<Passwords>>,
    ) -> Result<LoginGate, StartError> {
        let pool = match passwords {
            None => None,
            Some(passwords) => Some(Arc::new(
                start(settings, passwords)
                    .map_err(|error| StartError::System("a thread for passwords", error))?,
            )),
        };
        Ok(LoginGate { pool: RwLock::new(pool) })
    }

    /// Attempts by outcome, if there is a password file.
    pub(super) fn counts(&self) -> Option<LoginCounts> {
        self.pool.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|pool| pool.counts())
    }

    /// New passwords and limits, from the next attempt on.
    pub(super) fn reload(&self, settings: &Settings, passwords: Option<Arc<Passwords>>) {
        let mut pool = self.pool.write().unwrap_or_else(PoisonError::into_inner);
        match (pool.as_ref(), passwords) {
            (Some(pool), Some(passwords)) => pool.reload(passwords, &LoginLimits::from(&settings.login)),
            (None, Some(passwords)) => match start(settings, passwords) {
                Ok(started) => *pool = Some(Arc::new(started)),
                Err(error) => {
                    tracing::error!(%error, "no thread for passwords: the password file is not in force")
                }
            },
            (_, None) => *pool = None,
        }
    }
}

fn start(settings: &Settings, passwords: Arc<Passwords>) -> std::io::Result<LoginPool<Answer>> {
    let answer = Arc::new(|answer: Answer, checked: Checked| {
        answer(match checked {
            Checked::Granted => Verdict::Accepted,
            Checked::Refused => Verdict::BadCredentials,
        });
    });
    LoginPool::start(&LoginLimits::from(&settings.login), passwords, answer)
}

impl Login for LoginGate {
    fn check(&self, request: AuthRequest, anonymous: bool, answer: Answer) {
        let pool = self.pool.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(pool) = pool else {
            // Without a password file nobody can be known: where anonymous clients may come in, a name is just a name, and
            // must not pass for an account that rules give rights to.
            return answer(if anonymous { Verdict::AcceptedAnonymously } else { Verdict::NotAuthorized });
        };
        let Some(username) = request.username else { return answer(Verdict::BadCredentials) };
        let attempt = Attempt {
            ticket: answer,
            username,
            password: request.password.unwrap_or_default(),
            from: request.peer.ip(),
        };
        if let Err((why, attempt)) = pool.submit(attempt) {
            (attempt.ticket)(match why {
                NotTaken::Busy => Verdict::Unavailable,
                NotTaken::Waiting => Verdict::RateExceeded,
            });
        }
    }
}
