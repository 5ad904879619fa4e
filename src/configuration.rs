//! Everything an operator says, read as a whole: settings, access rules, accounts.
//!
//! Built on the main thread at the start and at each reload. One wrong line anywhere, and there is no configuration:
//! the start ends, or the reload leaves the one in force as it is. So a limit, a rule and an account that belong
//! together take effect together.

use std::fmt;
use std::sync::Arc;

use bitsim_engine::access::AccessRules;

use crate::access_file::{self, AccessFileError};
use crate::login::{PasswordFileError, Passwords};
use crate::settings::{Inputs, Loaded, Rejected, Settings};

/// A configuration in which nothing is wrong.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The settings.
    pub settings: Arc<Settings>,
    /// Who may read and write what.
    pub access: Arc<AccessRules>,
    /// The accounts; `None` if `login.password_file` is not set. Then a user name proves nothing: a client that is
    /// admitted is anonymous to the access rules, whatever name it sends.
    pub passwords: Option<Arc<Passwords>>,
}

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigurationError {
    /// The settings are wrong.
    Settings(Rejected),
    /// The access rules are.
    Access(AccessFileError),
    /// The password file is.
    Passwords(PasswordFileError),
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(error) => error.fmt(f),
            Self::Access(error) => error.fmt(f),
            Self::Passwords(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConfigurationError {}

impl Configuration {
    /// Reads all of it.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn load(inputs: &Inputs) -> Result<(Self, Loaded), ConfigurationError> {
        let loaded = Settings::load(inputs).map_err(ConfigurationError::Settings)?;
        let configuration = Self::from_settings(loaded.settings.clone())?;
        Ok((configuration, loaded))
    }

    /// Reads it again. Settings that only a restart changes stay as they run; their keys are returned.
    ///
    /// # Errors
    /// What is wrong, and where; `self` stays in force.
    pub fn reload(&self, inputs: &Inputs) -> Result<(Self, Vec<String>), ConfigurationError> {
        let mut settings = Settings::load(inputs).map_err(ConfigurationError::Settings)?.settings;
        let kept = settings.keep_what_needs_a_restart(&self.settings);
        Ok((Self::from_settings(settings)?, kept))
    }

    fn from_settings(settings: Settings) -> Result<Self, ConfigurationError> {
        let access = access_file::load(&settings.access).map_err(ConfigurationError::Access)?;
        let passwords = match &settings.login.password_file {
            Some(path) => Some(Arc::new(Passwords::read(path).map_err(ConfigurationError::Passwords)?)),
            None => None,
        };
        Ok(Self { settings: Arc::new(settings), access, passwords })
    }
}
