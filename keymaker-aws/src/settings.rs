//! What an administrator may set about the way to AWS. The daemons fill [`AwsSettings`] from their configuration file;
//! it is checked whole in [`crate::Route::new`], so that a bad value ends a start with a sentence and not a login with
//! a timeout.

use std::io;
use std::path::PathBuf;

use aws_smithy_http_client::proxy::ProxyConfig;
use hyper::http::uri::Scheme;
use hyper_util::client::proxy::matcher::Matcher;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use keymaker_syntax::{ProxyUrl, service_uri};

/// The way to AWS. The default is right on an ordinary instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsSettings {
    /// Such as `eu-central-1`; `None` asks the metadata service.
    pub region: Option<String>,
    /// Where IAM is, `https://host[:port]`; `None`: by partition.
    pub iam_endpoint: Option<String>,
    /// Where STS is; `None`: by region.
    pub sts_endpoint: Option<String>,
    /// Where the metadata service is; `None`: its two link-local addresses.
    pub metadata_endpoint: Option<String>,
    /// The proxy for calls over https; may hold a user name and password. The metadata service is never asked through
    /// it.
    pub https_proxy: Option<ProxyUrl>,
    /// A PEM file of the only certificate authorities to trust, instead of the system's.
    pub ca_bundle: Option<PathBuf>,
}

/// Why a setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AwsSettingsError {
    /// "{key}: … is not a URL of the form `https://host[:port]`."
    #[error("{key}: {value:?} is not a URL of the form https://host[:port]")]
    Endpoint {
        /// The key in the configuration file.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// "region: … is not a region; write one such as eu-central-1."
    #[error("region: {0:?} is not a region; write one such as eu-central-1")]
    Region(String),
    /// `https_proxy is not a URL of the form http://[user:password@]host:port.` (Not quoted: it may hold a
    /// password.)
    #[error("https_proxy is not a URL of the form http://[user:password@]host:port")]
    Proxy,
    /// `ca_bundle: FILE cannot be read: …`
    #[error("ca_bundle: {0} cannot be read: {1}")]
    CaUnreadable(PathBuf, io::Error),
    /// `ca_bundle: FILE holds no usable certificate; it must be a PEM file of certificate authorities.`
    #[error("ca_bundle: {0} contains no usable certificate; it must be a PEM file of certificate authorities")]
    CaUnusable(PathBuf),
}

impl AwsSettingsError {
    /// The key in the configuration file whose value is wrong.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Endpoint { key, .. } => key,
            Self::Region(_) => "region",
            Self::Proxy => "https_proxy",
            Self::CaUnreadable(..) | Self::CaUnusable(_) => "ca_bundle",
        }
    }
}

impl AwsSettings {
    /// The IAM endpoint, checked.
    pub(crate) fn iam_url(&self) -> Result<Option<String>, AwsSettingsError> {
        self.iam_endpoint
            .as_deref()
            .map(|value| service_url("iam_endpoint", value))
            .transpose()
    }

    /// The STS endpoint, checked.
    pub(crate) fn sts_url(&self) -> Result<Option<String>, AwsSettingsError> {
        self.sts_endpoint
            .as_deref()
            .map(|value| service_url("sts_endpoint", value))
            .transpose()
    }

    /// The region, checked: a label that is safe inside a host name.
    pub(crate) fn checked_region(&self) -> Result<Option<String>, AwsSettingsError> {
        let refused = |text: &String| AwsSettingsError::Region(text.clone());
        self.region
            .as_ref()
            .map(|text| region_name(text).ok_or_else(|| refused(text)))
            .transpose()
    }

    /// The metadata service's addresses as (host, port), to be tried in this order.
    pub(crate) fn metadata_addresses(&self) -> Result<Vec<(String, u16)>, AwsSettingsError> {
        let Some(value) = &self.metadata_endpoint else {
            return Ok(vec![
                ("169.254.169.254".to_owned(), 80),
                ("fd00:ec2::254".to_owned(), 80),
            ]);
        };
        let refused = || AwsSettingsError::Endpoint {
            key: "metadata_endpoint",
            value: value.clone(),
        };
        let uri = service_uri(value)
            .filter(|uri| uri.scheme() == Some(&Scheme::HTTP))
            .ok_or_else(refused)?;
        let host = uri
            .host()
            .ok_or_else(refused)?
            .trim_start_matches('[')
            .trim_end_matches(']');
        Ok(vec![(host.to_owned(), uri.port_u16().unwrap_or(80))])
    }

    /// The proxy for https; none unless set, whatever the environment says.
    pub(crate) fn proxy(&self) -> Result<ProxyConfig, AwsSettingsError> {
        match &self.https_proxy {
            None => Ok(ProxyConfig::disabled()),
            Some(url) => ProxyConfig::https(url.expose()).map_err(|_| AwsSettingsError::Proxy),
        }
    }

    /// The same proxy, for the calls that the SDK does not make.
    pub(crate) fn proxy_matcher(&self) -> Option<Matcher> {
        let url = self.https_proxy.as_ref()?.expose();
        Some(Matcher::builder().https(url).build())
    }

    /// The PEM text of the certificate authorities. Each is tried here: the SDK panics on one that it cannot use.
    pub(crate) fn ca_pem(&self) -> Result<Option<Vec<u8>>, AwsSettingsError> {
        let Some(path) = &self.ca_bundle else { return Ok(None) };
        let pem = std::fs::read(path).map_err(|why| AwsSettingsError::CaUnreadable(path.clone(), why))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let usable = certificate.ok().and_then(|certificate| roots.add(certificate).ok());
            usable.ok_or_else(|| AwsSettingsError::CaUnusable(path.clone()))?;
        }
        if roots.is_empty() {
            return Err(AwsSettingsError::CaUnusable(path.clone()));
        }
        Ok(Some(pem))
    }
}

/// A region's name if it can be one.
pub(crate) fn region_name(text: &str) -> Option<String> {
    let legal = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (legal && (4..=40).contains(&text.len()) && text.contains('-')).then(|| text.to_owned())
}

fn service_url(key: &'static str, value: &str) -> Result<String, AwsSettingsError> {
    service_uri(value)
        .map(|_| value.trim_end_matches('/').to_owned())
        .ok_or_else(|| AwsSettingsError::Endpoint {
            key,
            value: value.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_setting_is_refused_by_its_key() {
        for bad in [
            "",
            "iam.amazonaws.com",
            "ftp://x",
            "https://x/path",
            "https://u:p@x",
            "https://x?y",
            "https:// x",
        ] {
            let settings = AwsSettings {
                iam_endpoint: Some(bad.into()),
                ..AwsSettings::default()
            };
            assert!(
                settings
                    .iam_url()
                    .unwrap_err()
                    .to_string()
                    .starts_with("iam_endpoint: "),
                "{bad}"
            );
        }
        for bad in ["", "x", "eu_central_1", "eu-central-1.evil.example/", "EU-CENTRAL-1"] {
            let settings = AwsSettings {
                region: Some(bad.into()),
                ..AwsSettings::default()
            };
            assert!(
                settings
                    .checked_region()
                    .unwrap_err()
                    .to_string()
                    .starts_with("region: "),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_bundle_without_a_usable_certificate_is_refused_before_the_sdk_sees_it() {
        let folder = std::env::temp_dir().join(format!("keymaker-ca-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let bundle = folder.join("ca.pem");
        let settings = AwsSettings {
            ca_bundle: Some(bundle.clone()),
            ..AwsSettings::default()
        };
        assert!(matches!(settings.ca_pem(), Err(AwsSettingsError::CaUnreadable(..))));
        for bad in [
            "",
            "rubbish",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            std::fs::write(&bundle, bad).unwrap();
            assert!(
                matches!(settings.ca_pem(), Err(AwsSettingsError::CaUnusable(_))),
                "{bad:?}"
            );
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    // P19
    #[test]
    fn a_proxys_password_is_in_no_debug_output_and_no_error() {
        let proxy = "http://user:hunter2@proxy example";
        let settings = AwsSettings {
            https_proxy: Some(ProxyUrl::new(proxy)),
            ..AwsSettings::default()
        };
        let error = settings.proxy().unwrap_err();
        assert!(!format!("{settings:?} {error:?} {error}").contains("hunter2"));
    }
}
