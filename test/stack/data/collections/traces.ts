import type { Draw, Fields } from '../draw.ts'
import { conversationOf, participantOf, wordsOf, ASIDE, spread } from '../world.ts'
import { BROWSERS, COUNTRIES, LETTERS, SYSTEMS, ipOf, personOf, sentence } from '../words.ts'
import { attachmentOf } from './messages.ts'
import { avatarUrl } from './people.ts'

export const traces = {
  Notification: (d: Draw): Fields => {
    const { world } = d
    const message = d.earlier('Message')
    const sender = participantOf(world, message)
    const { firstName, lastName, username } = personOf(world.seed, sender)
    const { language, sentence: number } = wordsOf(world, message)
    const conversationId = d.idOf('Conversation', conversationOf(world, message))
    const type = d.pick(['new_message', 'new_message', 'new_message', 'message_reaction', 'user_mentioned'])
    return {
      _id: d.id,
      userId: d.idOf('User', participantOf(world, message, d.int(1, 7))),
      type,
      title: `Nouveau message de ${firstName} ${lastName}`,
      content: sentence(language, number),
      data: JSON.stringify({ conversationId, attachments: null, action: 'open_conversation' }),
      priority: type === 'user_mentioned' ? 'high' : 'normal',
      isRead: d.chance(0.3),
      emailSent: false,
      pushSent: false,
      expiresAt: d.some(0.05, d.after(700)),
      createdAt: d.at,
      senderId: d.idOf('User', sender),
      senderUsername: username,
      senderAvatar: avatarUrl(world, sender),
      senderDisplayName: `${firstName} ${lastName}`,
      senderFirstName: firstName,
      senderLastName: lastName,
      messagePreview: sentence(language, number),
      conversationId,
      messageId: d.idOf('Message', message),
      callSessionId: d.some(0.02, d.ref('call_sessions')),
    }
  },

  TrackingLink: (d: Draw): Fields => {
    const token = d.text(6, LETTERS) + d.i.toString(36)
    const message = d.earlier('Message')
    const clicks = d.int(0, 30)
    return {
      _id: d.id,
      token,
      name: d.some(0.2, 'Article'),
      originalUrl: `https://example.org/articles/${d.int(1, 999)}?lang=fr#top`,
      shortUrl: `/l/${token}`,
      createdBy: d.idOf('User', participantOf(d.world, message)),
      conversationId: d.idOf('Conversation', conversationOf(d.world, message)),
      messageId: d.idOf('Message', message),
      totalClicks: clicks,
      uniqueClicks: d.int(0, clicks),
      isActive: true,
      expiresAt: d.some(0.1, d.after(1000)),
      createdAt: d.at,
      updatedAt: d.after(500),
      lastClickedAt: clicks > 0 ? d.after(500) : undefined,
    }
  },

  TrackingLinkClick: (d: Draw): Fields => ({
    _id: d.id,
    trackingLinkId: d.ref('TrackingLink'),
    userId: d.some(0.6, d.ref('User')),
    ipAddress: ipOf(d.int(0, 255)),
    country: d.pick(COUNTRIES),
    city: d.some(0.5, d.pick(['Paris', 'Douala', 'Lisboa'])),
    region: d.some(0.2, 'Île-de-France'),
    userAgent: 'Mozilla/5.0',
    browser: d.pick(BROWSERS),
    os: d.pick(SYSTEMS),
    device: d.pick(['mobile', 'desktop', 'tablet']),
    language: d.pick(['fr', 'en', 'pt']),
    referrer: d.some(0.3, 'https://meeshy.me/'),
    deviceFingerprint: d.some(0.5, d.text(32)),
    clickedAt: d.at,
  }),

  // The fields of the leftovers are not known; these look like what their names say.
  MessageAttachment_backup_urls: (d: Draw): Fields => {
    const place = spread(d.i, d.count, d.world.size.MessageAttachment, 0)
    const { path, thumbnail } = attachmentOf(d, place)
    return {
      _id: d.idOf('MessageAttachment', place),
      fileUrl: `https://meeshy.me/api/attachments/${path}`,
      thumbnailUrl: thumbnail ? `https://meeshy.me/api/attachments/${thumbnail}` : null,
      backedUpAt: new Date(Date.UTC(2025, 11, 1)),
    }
  },

  old_message_status: (d: Draw): Fields => ({
    _id: d.id,
    messageId: d.idOf('Message', ASIDE.Message + d.i),
    userId: d.idOf('User', participantOf(d.world, ASIDE.Message + d.i, 1)),
    status: d.pick(['SENT', 'DELIVERED', 'READ']),
    timestamp: d.at,
  }),
}
