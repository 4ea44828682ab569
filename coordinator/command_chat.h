/* command_chat.h — a conversation at the terminal: what bitnet-coordinator does without a
 * subcommand. Exit codes as in command_run.h. */
#ifndef BN_COORDINATOR_COMMAND_CHAT_H
#define BN_COORDINATOR_COMMAND_CHAT_H

int bn_command_chat(int argc, char **argv);

#endif
