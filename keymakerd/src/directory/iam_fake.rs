//! An IAM account in memory for tests: seeded and changed while a test runs, counts calls, fails or hangs by action or by
//! name. Answers as IAM does where the directory depends on it: GetUser knows tags and listings do not, an unknown name is
//! NoSuchEntity.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use keymaker_aws::{Action, AwsCallError, CallerIdentity, OutageCause};

use super::iam::{AccountDetails, GroupWithMembers, Iam, IamGroup, IamKey, IamRole, IamUser};

/// The fake. A clone is a second handle on the same account.
#[derive(Clone)]
pub struct IamFake {
    account: Rc<RefCell<Account>>,
}

struct Account {
    caller_arn: String,
    users: BTreeMap<String, IamUser>,
    groups: BTreeMap<String, IamGroup>,
    members: BTreeSet<(String, String)>,
    keys: BTreeMap<String, Vec<(IamKey, String)>>,
    roles: BTreeMap<String, IamRole>,
    faults: BTreeMap<(Action, Option<String>), Fault>,
    calls: BTreeMap<Action, usize>,
}

#[derive(Clone)]
enum Fault {
    Error(AwsCallError),
    Hang,
}

impl IamFake {
    /// An empty account 123456789012, asked as role `host` by instance i-0123456789abcdef0.
    pub fn new() -> Self {
        let caller_arn = "arn:aws:sts::123456789012:assumed-role/host/i-0123456789abcdef0".to_owned();
        let account = Account {
            caller_arn,
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            members: BTreeSet::new(),
            keys: BTreeMap::new(),
            roles: BTreeMap::new(),
            faults: BTreeMap::new(),
            calls: BTreeMap::new(),
        };
        let fake = Self {
            account: Rc::new(RefCell::new(account)),
        };
        fake.set_role("host", None);
        fake
    }

    /// Makes the answers those of another account or caller.
    pub fn set_caller(&self, arn: &str) {
        self.account.borrow_mut().caller_arn = arn.to_owned();
    }

    /// Makes a role, or gives it another description.
    pub fn set_role(&self, name: &str, description: Option<&str>) {
        let role = IamRole {
            id: format!("AROA{}", name.to_uppercase()),
            arn: format!("arn:aws:iam::123456789012:role/{name}"),
            description: description.map(str::to_owned),
        };
        self.account.borrow_mut().roles.insert(name.to_owned(), role);
    }

    /// Makes a user under the path `/`, or another UserId under an existing name.
    pub fn add_user(&self, name: &str, id: &str, created: u64) {
        let user = IamUser {
            id: id.into(),
            name: name.into(),
            path: "/".into(),
            created,
            tags: Some(Vec::new()),
            groups: None,
        };
        self.account.borrow_mut().users.insert(name.to_owned(), user);
    }

    /// Changes a user in place: path, tags, anything.
    pub fn change_user(&self, name: &str, change: impl FnOnce(&mut IamUser)) {
        change(
            self.account
                .borrow_mut()
                .users
                .get_mut(name)
                .expect("a user that the test made"),
        );
    }

    /// Deletes a user with keys and memberships.
    pub fn delete_user(&self, name: &str) {
        let mut account = self.account.borrow_mut();
        account.users.remove(name);
        account.keys.remove(name);
        account.members.retain(|(_, user)| user != name);
    }

    /// Makes a group under the path `/`.
    pub fn add_group(&self, name: &str, id: &str, created: u64) {
        let group = IamGroup {
            id: id.into(),
            name: name.into(),
            path: "/".into(),
            created,
        };
        self.account.borrow_mut().groups.insert(name.to_owned(), group);
    }

    /// Deletes a group with its memberships.
    pub fn delete_group(&self, name: &str) {
        let mut account = self.account.borrow_mut();
        account.groups.remove(name);
        account.members.retain(|(group, _)| group != name);
    }

    /// Puts a user into a group.
    pub fn join(&self, user: &str, group: &str) {
        self.account
            .borrow_mut()
            .members
            .insert((group.to_owned(), user.to_owned()));
    }

    /// Takes a user out of a group.
    pub fn leave(&self, user: &str, group: &str) {
        self.account
            .borrow_mut()
            .members
            .remove(&(group.to_owned(), user.to_owned()));
    }

    /// Uploads an active key.
    pub fn add_key(&self, user: &str, key_id: &str, body: &str) {
        let key = IamKey {
            id: key_id.to_owned(),
            active: true,
            uploaded: 0,
        };
        self.account
            .borrow_mut()
            .keys
            .entry(user.to_owned())
            .or_default()
            .push((key, body.to_owned()));
    }

    /// Makes a key Active or Inactive.
    pub fn set_key_active(&self, user: &str, key_id: &str, active: bool) {
        let mut account = self.account.borrow_mut();
        let keys = account.keys.get_mut(user).expect("a user to whom the test gave a key");
        keys.iter_mut()
            .filter(|(key, _)| key.id == key_id)
            .for_each(|(key, _)| key.active = active);
    }

    /// Deletes a key.
    pub fn delete_key(&self, user: &str, key_id: &str) {
        self.account
            .borrow_mut()
            .keys
            .entry(user.to_owned())
            .or_default()
            .retain(|(key, _)| key.id != key_id);
    }

    /// Every call of this action fails with this error until `mend`.
    pub fn fail(&self, error: AwsCallError) {
        self.account
            .borrow_mut()
            .faults
            .insert((error.action(), None), Fault::Error(error));
    }

    /// Calls of this action for this user, group or role name fail until `mend`.
    pub fn fail_for(&self, name: &str, error: AwsCallError) {
        self.account
            .borrow_mut()
            .faults
            .insert((error.action(), Some(name.to_owned())), Fault::Error(error));
    }

    /// Every call of this action is a timeout until `mend`.
    pub fn time_out(&self, action: Action) {
        self.fail(AwsCallError::Outage {
            action,
            cause: OutageCause::Timeout,
        });
    }

    /// Every call of this action is denied until `mend`.
    pub fn deny(&self, action: Action) {
        self.fail(AwsCallError::AccessDenied {
            action,
            message: "no policy allows it".into(),
        });
    }

    /// Every call of this action never returns, until `mend`.
    pub fn hang(&self, action: Action) {
        self.account.borrow_mut().faults.insert((action, None), Fault::Hang);
    }

    /// Takes all faults of an action back.
    pub fn mend(&self, action: Action) {
        self.account
            .borrow_mut()
            .faults
            .retain(|(faulty, _), _| *faulty != action);
    }

    /// How often this action was called, failures included.
    pub fn calls(&self, action: Action) -> usize {
        self.account.borrow().calls.get(&action).copied().unwrap_or(0)
    }

    /// Counts the call, then fails or hangs as the test asked.
    async fn enter(&self, action: Action, name: Option<&str>) -> Result<(), AwsCallError> {
        let fault = {
            let mut account = self.account.borrow_mut();
            *account.calls.entry(action).or_default() += 1;
            let for_name = name.and_then(|name| account.faults.get(&(action, Some(name.to_owned()))));
            for_name.or_else(|| account.faults.get(&(action, None))).cloned()
        };
        match fault {
            None => Ok(()),
            Some(Fault::Error(error)) => Err(error),
            Some(Fault::Hang) => std::future::pending().await,
        }
    }
}

impl Iam for IamFake {
    async fn list_users(&self, path_prefix: &str) -> Result<Vec<IamUser>, AwsCallError> {
        self.enter(Action::LIST_USERS, None).await?;
        let account = self.account.borrow();
        Ok(account
            .users
            .values()
            .filter(|user| user.path.starts_with(path_prefix))
            .map(as_listed)
            .collect())
    }

    async fn list_groups(&self) -> Result<Vec<IamGroup>, AwsCallError> {
        self.enter(Action::LIST_GROUPS, None).await?;
        Ok(self.account.borrow().groups.values().cloned().collect())
    }

    async fn group(&self, group_name: &str) -> Result<GroupWithMembers, AwsCallError> {
        self.enter(Action::GET_GROUP, Some(group_name)).await?;
        let account = self.account.borrow();
        let group = account.groups.get(group_name).cloned();
        let group = group.ok_or(AwsCallError::NoSuchEntity {
            action: Action::GET_GROUP,
        })?;
        let is_member = |user: &&IamUser| account.members.contains(&(group_name.to_owned(), user.name.clone()));
        Ok(GroupWithMembers {
            group,
            members: account.users.values().filter(is_member).map(as_listed).collect(),
        })
    }

    async fn user(&self, iam_user_name: &str) -> Result<IamUser, AwsCallError> {
        self.enter(Action::GET_USER, Some(iam_user_name)).await?;
        let account = self.account.borrow();
        account
            .users
            .get(iam_user_name)
            .cloned()
            .ok_or(AwsCallError::NoSuchEntity {
                action: Action::GET_USER,
            })
    }

    async fn groups_for_user(&self, iam_user_name: &str) -> Result<Vec<IamGroup>, AwsCallError> {
        self.enter(Action::LIST_GROUPS_FOR_USER, Some(iam_user_name)).await?;
        self.account
            .borrow()
            .known(Action::LIST_GROUPS_FOR_USER, iam_user_name)?;
        let account = self.account.borrow();
        Ok(account.groups_of(iam_user_name).cloned().collect())
    }

    async fn ssh_public_keys(&self, iam_user_name: &str) -> Result<Vec<IamKey>, AwsCallError> {
        self.enter(Action::LIST_SSH_PUBLIC_KEYS, Some(iam_user_name)).await?;
        let account = self.account.borrow();
        account.known(Action::LIST_SSH_PUBLIC_KEYS, iam_user_name)?;
        Ok(account
            .keys
            .get(iam_user_name)
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .collect())
    }

    async fn ssh_public_key(&self, iam_user_name: &str, key_id: &str) -> Result<String, AwsCallError> {
        self.enter(Action::GET_SSH_PUBLIC_KEY, Some(iam_user_name)).await?;
        let account = self.account.borrow();
        let mut keys = account.keys.get(iam_user_name).into_iter().flatten();
        let found = keys.find(|(key, _)| key.id == key_id).map(|(_, body)| body.clone());
        found.ok_or(AwsCallError::NoSuchEntity {
            action: Action::GET_SSH_PUBLIC_KEY,
        })
    }

    async fn role(&self, role_name: &str) -> Result<IamRole, AwsCallError> {
        self.enter(Action::GET_ROLE, Some(role_name)).await?;
        let account = self.account.borrow();
        account.roles.get(role_name).cloned().ok_or(AwsCallError::NoSuchEntity {
            action: Action::GET_ROLE,
        })
    }

    async fn account_details(&self) -> Result<AccountDetails, AwsCallError> {
        self.enter(Action::GET_ACCOUNT_AUTHORIZATION_DETAILS, None).await?;
        let account = self.account.borrow();
        let with_groups = |user: &IamUser| IamUser {
            groups: Some(account.groups_of(&user.name).map(|group| group.name.clone()).collect()),
            ..user.clone()
        };
        Ok(AccountDetails {
            users: account.users.values().map(with_groups).collect(),
            groups: account.groups.values().cloned().collect(),
        })
    }

    async fn caller_identity(&self) -> Result<CallerIdentity, AwsCallError> {
        self.enter(Action::GET_CALLER_IDENTITY, None).await?;
        Ok(CallerIdentity::from_arn(&self.account.borrow().caller_arn).expect("an ARN that the test wrote"))
    }
}

impl Account {
    fn known(&self, action: Action, iam_user_name: &str) -> Result<(), AwsCallError> {
        self.users
            .contains_key(iam_user_name)
            .then_some(())
            .ok_or(AwsCallError::NoSuchEntity { action })
    }

    fn groups_of<'a>(&'a self, iam_user_name: &'a str) -> impl Iterator<Item = &'a IamGroup> {
        let joined = move |group: &&IamGroup| self.members.contains(&(group.name.clone(), iam_user_name.to_owned()));
        self.groups.values().filter(joined)
    }
}

/// Listings tell neither tags nor groups.
fn as_listed(user: &IamUser) -> IamUser {
    IamUser {
        tags: None,
        groups: None,
        ..user.clone()
    }
}
