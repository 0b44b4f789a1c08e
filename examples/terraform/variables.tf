variable "role_name" {
  description = "The name of the role and of its instance profile."
  type        = string
  default     = "keymaker-host"
}

variable "require_iam_group" {
  description = "Only members of this IAM group may log in; empty: everybody whom keymakerd publishes. Hosts wait for 'keymaker accept-settings' before they take another group, or none."
  type        = string
  default     = ""
}
