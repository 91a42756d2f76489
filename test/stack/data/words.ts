// Words and people to write documents with.
import { mix } from './random.ts'
import type { Language } from './world.ts'

const SENTENCES: readonly Readonly<Record<Language, string>>[] = [
  {
    fr: 'Bonjour à toutes et à tous !',
    en: 'Hello everybody!',
    es: '¡Hola a todos!',
    pt: 'Olá a todos!',
  },
  {
    fr: 'On se retrouve à 18 h devant la gare, d’accord ?',
    en: 'Shall we meet at 6 pm in front of the station?',
    es: '¿Quedamos a las 18 h delante de la estación?',
    pt: 'Encontramo-nos às 18 h em frente à estação?',
  },
  {
    fr: 'Merci beaucoup, c’est exactement ce qu’il me fallait.',
    en: "Thank you so much, that's exactly what I needed.",
    es: 'Muchas gracias, es justo lo que necesitaba.',
    pt: 'Muito obrigado, era mesmo do que eu precisava.',
  },
  {
    fr: 'Je n’ai pas encore reçu ton fichier.',
    en: 'I have not received your file yet.',
    es: 'Todavía no he recibido tu archivo.',
    pt: 'Ainda não recebi o teu ficheiro.',
  },
  {
    fr: 'La réunion est déplacée à jeudi matin.',
    en: 'The meeting has been moved to Thursday morning.',
    es: 'La reunión se ha pasado al jueves por la mañana.',
    pt: 'A reunião foi adiada para quinta-feira de manhã.',
  },
  {
    fr: 'Quelqu’un a-t-il essayé la nouvelle version ?',
    en: 'Has anyone tried the new version?',
    es: '¿Alguien ha probado la nueva versión?',
    pt: 'Alguém já experimentou a nova versão?',
  },
  {
    fr: 'Regarde cette photo, c’était à Dakar l’été dernier 🌅',
    en: 'Look at this picture, it was in Dakar last summer 🌅',
    es: 'Mira esta foto, fue en Dakar el verano pasado 🌅',
    pt: 'Olha esta fotografia, foi em Dacar no verão passado 🌅',
  },
  {
    fr: 'Je ne comprends pas la traduction du dernier message.',
    en: 'I do not understand the translation of the last message.',
    es: 'No entiendo la traducción del último mensaje.',
    pt: 'Não percebo a tradução da última mensagem.',
  },
  {
    fr: 'Bon anniversaire ! 🎂',
    en: 'Happy birthday! 🎂',
    es: '¡Feliz cumpleaños! 🎂',
    pt: 'Feliz aniversário! 🎂',
  },
  {
    fr: 'D’accord, je m’en occupe demain et je te tiens au courant.',
    en: "All right, I'll take care of it tomorrow and keep you posted.",
    es: 'De acuerdo, me encargo mañana y te aviso.',
    pt: 'Está bem, trato disso amanhã e dou-te notícias.',
  },
  {
    fr: 'Le lien ne fonctionne plus, tu peux le renvoyer ?',
    en: 'The link no longer works, can you send it again?',
    es: 'El enlace ya no funciona, ¿puedes reenviarlo?',
    pt: 'A ligação já não funciona, podes reenviá-la?',
  },
  {
    fr: 'Haha, excellent 😂',
    en: "Haha, that's great 😂",
    es: 'Jaja, buenísimo 😂',
    pt: 'Haha, excelente 😂',
  },
  {
    fr: 'Voici le compte rendu, avec les chiffres de novembre.',
    en: 'Here are the minutes, with the figures for November.',
    es: 'Aquí está el acta, con las cifras de noviembre.',
    pt: 'Aqui está a ata, com os números de novembro.',
  },
]

/** A sentence in a language, by any number; different languages of one number say the same. */
export function sentence(language: Language, number: number): string {
  return (SENTENCES[number % SENTENCES.length] as (typeof SENTENCES)[number])[language]
}

export const EMOJI = ['👍', '❤️', '😂', '🎉', '🙏', '🔥', '😮']
export const COUNTRIES = ['FR', 'CM', 'SN', 'CI', 'BE', 'CA', 'PT', 'ES', 'GB']
export const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
export const BROWSERS = ['Chrome', 'Firefox', 'Safari', 'Edge']
export const SYSTEMS = ['Android', 'iOS', 'Windows', 'macOS', 'Linux']

const FIRST =
  'Sophie,Thomas,Aïcha,Marc,Élodie,Kofi,Inès,Hugo,Fatou,Léa,Mamadou,Chloé,Jean,Ana,Rui,John'.split(',')
const LAST = 'Martin,Diallo,Ngo,Dupont,Lefèvre,Traoré,Silva,Garcia,Moreau,Kamga,Smith,Petit,Sow,Roux'.split(
  ',',
)
const MAIL = ['gmail.com', 'yahoo.fr', 'outlook.com', 'orange.fr']

export interface Person {
  readonly firstName: string
  readonly lastName: string
  readonly username: string
  readonly email: string
}

/** The names of the user at that place; user name and e-mail are nobody else's. */
export function personOf(seed: number, place: number): Person {
  const h = mix(seed, place, 4)
  const firstName = FIRST[h % FIRST.length] as string
  const lastName = LAST[(h >>> 8) % LAST.length] as string
  const plain = (name: string): string =>
    name
      .normalize('NFD')
      .replace(/\P{ASCII}/gu, '')
      .toLowerCase()
  const username = `${plain(firstName)}_${plain(lastName)}${place}`
  return { firstName, lastName, username, email: `${username}@${MAIL[(h >>> 16) % MAIL.length]}` }
}

export function ipOf(h: number): string {
  return `203.0.113.${h % 256}`
}
