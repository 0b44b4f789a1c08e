# The role of instances that run Keymaker: it reads IAM in grade 2. The same as `keymaker configure --instance-iam-role NAME`.

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 4.0"
    }
  }
}

data "aws_partition" "current" {}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.${data.aws_partition.current.dns_suffix}"]
    }
  }
}

data "aws_iam_policy_document" "keymaker" {
  statement {
    sid       = "KeymakerReadRoles"
    actions   = ["iam:GetRole"]
    resources = [aws_iam_role.keymaker.arn]
  }
  statement {
    sid = "KeymakerReadUsers"
    actions = [
      "iam:GetUser",
      "iam:ListGroupsForUser",
      "iam:ListSSHPublicKeys",
      "iam:GetSSHPublicKey",
      "iam:ListGroups",
      "iam:GetGroup",
      "iam:ListUsers",
    ]
    resources = ["*"]
  }
}

resource "aws_iam_role" "keymaker" {
  name               = var.role_name
  description        = var.require_iam_group == "" ? "" : "keymaker_require_iam_group=${var.require_iam_group}"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_policy" "keymaker" {
  name   = "${var.role_name}-keymaker"
  policy = data.aws_iam_policy_document.keymaker.json
}

resource "aws_iam_role_policy_attachment" "keymaker" {
  role       = aws_iam_role.keymaker.name
  policy_arn = aws_iam_policy.keymaker.arn
}

resource "aws_iam_instance_profile" "keymaker" {
  name = var.role_name
  role = aws_iam_role.keymaker.name
}
