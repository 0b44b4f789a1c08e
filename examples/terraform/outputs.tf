output "instance_profile_name" {
  description = "For iam_instance_profile of aws_instance, or of aws_launch_template."
  value       = aws_iam_instance_profile.keymaker.name
}

output "user_data" {
  description = "For user_data of Debian and Ubuntu instances."
  value       = file("${path.module}/../cloud-init/debian.yaml")
}
