/** Types of ensure.mjs, which must run where there is no TypeScript yet. */
export interface InstallFault {
  readonly code: string;
  readonly sentence: string;
  readonly hint: string;
}
export function whatIsMissing(root: string, options: { readonly dev: boolean }): string | undefined;
export function ensureInstalled(root: string, options: { readonly dev: boolean }): Promise<InstallFault | undefined>;
